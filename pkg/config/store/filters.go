package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// filterNeeds are the filter configurations that something gets by ECDS, each once.
func filterNeeds(refs []model.FilterReference) []dependency {
	var deps []dependency
	for _, r := range refs {
		i := slices.IndexFunc(deps, func(d dependency) bool { return d.name == r.Name })
		if i >= 0 {
			deps[i].later = deps[i].later && r.Discovery.WithoutWarming
			continue
		}
		deps = append(deps, dependency{
			key: key{xds.FilterType, r.Name}, source: r.Discovery.Source, later: r.Discovery.WithoutWarming,
			prefix: "extension_config_discovery." + r.Discovery.Kind.Stat() + "." + r.Name + ".",
		})
	}
	return deps
}

// filterConfigNeeds are what a filter that was delivered needs in turn: a connection manager its routes, scopes and filters, a
// router its upstream filters. It serves when they are there.
func filterConfigNeeds(v *model.FilterConfig) []dependency {
	deps := append(scopesNeeded(v.ScopeReferences()), routesNeeded(v.RouteReferences())...)
	return append(deps, filterNeeds(v.FilterReferences())...)
}

// moveFilter follows what is active: what waits for it goes on.
func (s *Store) moveFilter(_, now *model.FilterConfig) {
	if now != nil {
		s.deps.settle(key{xds.FilterType, now.Name})
	}
}

// promoteFilters makes filter configurations active, and then those that waited for them.
func (s *Store) promoteFilters() {
	for len(s.filters.ready.list) > 0 {
		s.filters.promote(s.deps)
	}
}

// translateFilter translates a filter configuration and checks that it is what its users expect: one that any of them
// cannot use is refused, as in Envoy. So is one that cannot use what was received for its own filters: kinds of filters never
// mix, and so no filter waits for itself.
func (b *batch) translateFilter(m *corev3.TypedExtensionConfig, meta translate.Meta) (*model.FilterConfig, uint64, []translate.Warning, error) {
	v, warnings, err := b.store.opt.Translate.FilterConfig(m, meta)
	if err != nil {
		return nil, 0, nil, err
	}
	if err := b.store.refuse(v); err != nil {
		return nil, 0, nil, err
	}
	return v, v.Hash, warnings, nil
}

// refuse tells why nobody may have a filter configuration, nil when it is good.
func (s *Store) refuse(v *model.FilterConfig) error {
	var bad error
	s.eachUse(v.Name, func(user string, r model.FilterReference) {
		if err := fits(r, v); err != nil && bad == nil {
			bad = fmt.Errorf("%s: %w", user, err)
		}
	})
	if bad != nil {
		return bad
	}
	for _, r := range v.FilterReferences() {
		there := v
		if r.Name != v.Name {
			e := s.filters.latest(r.Name)
			if e == nil {
				continue
			}
			there = e.Value
		}
		if err := fits(r, there); err != nil {
			return fmt.Errorf("its filter %s: %w", r.Name, err)
		}
	}
	return nil
}

// fits tells why a filter cannot have a configuration.
func fits(r model.FilterReference, v *model.FilterConfig) error {
	switch {
	case !r.Discovery.Accepts(v.TypeURL):
		return fmt.Errorf("filter config has type URL %s but expect %s", v.TypeURL, strings.Join(r.Discovery.TypeURLs, ", "))
	case v.Terminal && !r.Discovery.Terminal:
		return fmt.Errorf("terminal filter named %s of type %s must be the last filter in a %s filter chain", v.Name, v.TypeURL, r.Discovery.Kind.Chain())
	case !v.Terminal && r.Discovery.Terminal:
		return fmt.Errorf("non-terminal filter named %s of type %s is the last filter in a %s filter chain", v.Name, v.TypeURL, r.Discovery.Kind.Chain())
	}
	return nil
}

// countConflicts counts the filters of something new that cannot have the configuration that was received for others.
func (s *Store) countConflicts(user string, refs []model.FilterReference) {
	for _, r := range refs {
		e, w := s.filters.latest(r.Name), s.deps.wanted(xds.FilterType, r.Name)
		if e == nil || w == nil || w.stats == nil {
			continue
		}
		if err := fits(r, e.Value); err != nil {
			w.stats.configConflict.Inc()
			s.opt.Log.Warn("the filter serves with its default configuration, if any", "user", user, "filter", r.Name, "error", err)
		}
	}
}

// eachUse calls f for every place of a filter configuration: in listeners, clusters and other filter configurations, in every
// form of them, those that warm included, in order of their names.
func (s *Store) eachUse(filter string, f func(user string, r model.FilterReference)) {
	w := s.deps.wanted(xds.FilterType, filter)
	if w == nil {
		return
	}
	for _, k := range slices.SortedFunc(maps.Keys(w.users), func(a, b key) int {
		return cmp.Or(strings.Compare(a.typeURL, b.typeURL), strings.Compare(a.name, b.name))
	}) {
		user, refs := s.filterReferences(k)
		for _, r := range refs {
			if r.Name == filter {
				f(user, r)
			}
		}
	}
}

// filterReferences are the filters of a resource, in all its forms, and how errors call it.
func (s *Store) filterReferences(k key) (user string, refs []model.FilterReference) {
	switch k.typeURL {
	case xds.ListenerType:
		return "listener " + k.name, formReferences(s.listeners.slots[k.name], (*model.Listener).FilterReferences)
	case xds.ClusterType:
		return "cluster " + k.name, formReferences(s.clusters.slots[k.name], (*model.Cluster).FilterReferences)
	}
	return "filter configuration " + k.name, formReferences(s.filters.slots[k.name], (*model.FilterConfig).FilterReferences)
}

func formReferences[M comparable](s *Slot[M], of func(M) []model.FilterReference) []model.FilterReference {
	var refs []model.FilterReference
	for _, e := range []*Entry[M]{s.Active, s.Warming} {
		if e != nil {
			refs = append(refs, of(e.Value)...)
		}
	}
	return refs
}
