package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// filterNeeds are the filter configurations that a listener gets by ECDS, each once.
func filterNeeds(l *model.Listener) []dependency {
	var deps []dependency
	for _, r := range l.FilterReferences() {
		i := slices.IndexFunc(deps, func(d dependency) bool { return d.name == r.Name })
		if i >= 0 {
			deps[i].later = deps[i].later && r.Discovery.WithoutWarming
			continue
		}
		deps = append(deps, dependency{
			key: key{xds.FilterType, r.Name}, source: r.Discovery.Source, later: r.Discovery.WithoutWarming,
			prefix: "extension_config_discovery.http_filter." + r.Name + ".",
		})
	}
	return deps
}

// translateFilter translates a filter configuration and checks that it is what the listeners expect: one that any of them
// cannot use is refused, as in Envoy.
func (b *batch) translateFilter(m *corev3.TypedExtensionConfig, meta translate.Meta) (*model.FilterConfig, uint64, []translate.Warning, error) {
	v, warnings, err := b.store.opt.Translate.FilterConfig(m, meta)
	if err != nil {
		return nil, 0, nil, err
	}
	var bad error
	b.store.eachUser(v.Name, func(l *model.Listener) {
		for _, r := range l.FilterReferences() {
			if r.Name == v.Name && bad == nil {
				if bad = fits(r, v); bad != nil {
					bad = fmt.Errorf("listener %s: %w", l.Name, bad)
				}
			}
		}
	})
	if bad != nil {
		return nil, 0, nil, bad
	}
	return v, v.Hash, warnings, nil
}

// fits tells why a filter cannot have a configuration.
func fits(r model.FilterReference, v *model.FilterConfig) error {
	switch {
	case !r.Discovery.Accepts(v.TypeURL):
		return fmt.Errorf("filter config has type URL %s but expect %s", v.TypeURL, strings.Join(r.Discovery.TypeURLs, ", "))
	case v.Terminal && !r.Discovery.Terminal:
		return fmt.Errorf("terminal filter named %s of type %s must be the last filter in a http filter chain", v.Name, v.TypeURL)
	case !v.Terminal && r.Discovery.Terminal:
		return fmt.Errorf("non-terminal filter named %s of type %s is the last filter in a http filter chain", v.Name, v.TypeURL)
	}
	return nil
}

// countConflicts counts the filters of a new listener that cannot have the configuration that was received for others.
func (s *Store) countConflicts(l *model.Listener) {
	for _, r := range l.FilterReferences() {
		e, w := s.filters.latest(r.Name), s.deps.wanted(xds.FilterType, r.Name)
		if e == nil || w == nil || w.stats == nil {
			continue
		}
		if err := fits(r, e.Value); err != nil {
			w.stats.configConflict.Inc()
			s.opt.Log.Warn("the filter serves with its default configuration, if any", "listener", l.Name, "filter", r.Name, "error", err)
		}
	}
}

// eachUser calls f with every form of every listener that has a filter configuration, those that warm included, in order of
// their names.
func (s *Store) eachUser(filter string, f func(*model.Listener)) {
	w := s.deps.wanted(xds.FilterType, filter)
	if w == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(w.users)) {
		slot := s.listeners.slots[name]
		for _, e := range []*Entry[*model.Listener]{slot.Active, slot.Warming} {
			if e != nil {
				f(e.Value)
			}
		}
	}
}
