package hcm

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// chain is a list of HTTP filters; its slices have equal length.
type chain struct {
	configs  []*model.HTTPFilter
	filters  []filter.HTTP
	disabled bool // some filter is disabled by default
}

func (m *Manager) buildChain(list []*model.HTTPFilter) (chain, error) {
	var c chain
	var errs []error
	d := filter.Deps{
		Stats: m.stats.scope, Log: m.deps.Log, Wheel: m.deps.Wheel, Clusters: m.deps.Clusters,
		BufferLimit: m.deps.BufferLimit, Runtime: m.deps.Runtime,
	}
	for _, f := range list {
		h, err := buildFilter(f, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("http filter %q: %w", f.Name, err))
			continue
		}
		c.configs, c.filters = append(c.configs, f), append(c.filters, h)
		c.disabled = c.disabled || f.Disabled
	}
	if len(list) == 0 {
		errs = append(errs, errors.New("http filters: there is none, and the last one must be terminal"))
	}
	return c, errors.Join(errs...)
}

func buildFilter(f *model.HTTPFilter, d filter.Deps) (filter.HTTP, error) {
	switch c := f.Config.(type) {
	case filter.Builder:
		return c.NewHTTP(d)
	case filter.HTTP:
		return c, nil
	}
	return nil, fmt.Errorf("configuration of type %T is not an http filter", f.Config)
}

// choose returns the filters that are enabled for the stream's route; buf is used when that is not all of them.
func (c *chain) choose(s *filter.Stream, rt *filter.Route, buf []filter.HTTP) (use, scratch []filter.HTTP) {
	if !c.disabled && !overridesFilters(rt) {
		return c.filters, buf
	}
	buf = buf[:0]
	for i, f := range c.filters {
		off := c.configs[i].Disabled
		if o := s.Override(c.configs[i].Name); o != nil {
			off = o.Disabled
		}
		if !off || i == len(c.filters)-1 {
			buf = append(buf, f)
		}
	}
	return buf, buf
}

func overridesFilters(rt *filter.Route) bool {
	return rt.Weighted != nil && len(rt.Weighted.PerFilter) > 0 || rt.Route != nil && len(rt.Route.PerFilter) > 0 ||
		rt.VirtualHost != nil && len(rt.VirtualHost.PerFilter) > 0 || rt.Config != nil && len(rt.Config.PerFilter) > 0
}
