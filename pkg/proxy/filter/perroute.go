package filter

import "github.com/weir-proxy/weir/pkg/config/model"

// Override is that of the stream's route.
func (s *Stream) Override(name string) *model.FilterOverride {
	r := s.Host.Route(s)
	return r.Override(name)
}

// Override returns the most specific per-route configuration of the filter with this name: weighted cluster, route,
// virtual host, then route configuration; nil when there is none, or no route.
func (r *Route) Override(name string) *model.FilterOverride {
	for level := range levels {
		if o := r.override(level, name); o != nil {
			return o
		}
	}
	return nil
}

// PerRoute returns the most specific per-route configuration of the filter with this name, when it is a T. It is what a
// filter uses in place of its own configuration; one that is of another type counts as none, as in Envoy.
func PerRoute[T any](s *Stream, name string) (cfg T, ok bool) {
	r := s.Host.Route(s)
	if !r.Overrides() {
		return cfg, false
	}
	for level := range levels {
		if o := r.override(level, name); o != nil && o.Config != nil {
			cfg, ok = o.Config.(T)
			return cfg, ok
		}
	}
	return cfg, false
}

// AppendPerRoute appends the per-route configurations of the filter with this name at all levels, the most specific one
// first, for filters that merge them.
func AppendPerRoute[T any](dst []T, s *Stream, name string) []T {
	r := s.Host.Route(s)
	if !r.Overrides() {
		return dst
	}
	for level := range levels {
		if o := r.override(level, name); o != nil {
			if cfg, ok := o.Config.(T); ok {
				dst = append(dst, cfg)
			}
		}
	}
	return dst
}

// levels is how many levels of per-route configuration there are.
const levels = 4

// override is what a level, counted from the most specific one, says about a filter.
func (r *Route) override(level int, name string) *model.FilterOverride {
	if r.Route == nil { // as in Envoy, nothing of the virtual host counts without a route
		return nil
	}
	switch {
	case level == 0 && r.Weighted != nil:
		return r.Weighted.PerFilter[name]
	case level == 1:
		return r.Route.PerFilter[name]
	case level == 2 && r.VirtualHost != nil:
		return r.VirtualHost.PerFilter[name]
	case level == 3 && r.Config != nil:
		return r.Config.PerFilter[name]
	}
	return nil
}

// Overrides tells whether any level has per-route configuration, for whatever filter.
func (r *Route) Overrides() bool {
	return r.Route != nil && (r.Weighted != nil && len(r.Weighted.PerFilter) > 0 || len(r.Route.PerFilter) > 0 ||
		r.VirtualHost != nil && len(r.VirtualHost.PerFilter) > 0 || r.Config != nil && len(r.Config.PerFilter) > 0)
}
