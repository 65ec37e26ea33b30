package model

import "slices"

// HTTPFilter is one configured HTTP filter. Config was decoded by the filter's own package.
type HTTPFilter struct {
	// Name is the key of per-route configuration, and the name of the resource that Discovery asks for.
	Name    string
	TypeURL string
	// Config is nil when Discovery is set.
	Config any
	// Disabled filters only run where a route's configuration enables them.
	Disabled bool
	// Discovery delivers the configuration; nil for a filter that has its own.
	Discovery *FilterDiscovery
	// Upstream is the chain that a router runs around each exchange with an upstream host; nil for none. The chain of a
	// cluster takes its place.
	Upstream []*HTTPFilter
	// UpstreamLogs are the access logs that a router writes about each attempt.
	UpstreamLogs []*AccessLog
}

// FilterDiscovery is envoy.config.core.v3.ExtensionConfigSource: a filter whose configuration ECDS delivers.
type FilterDiscovery struct {
	Source *Source
	// TypeURLs are those of the configurations that are accepted; at least one.
	TypeURLs []string
	// Default is the decoded configuration that serves while none was received; nil answers with 500 then.
	Default any
	// WithoutWarming serves with Default at once, instead of waiting for the first answer.
	WithoutWarming bool
	// Terminal tells that the filter is the last of its chain.
	Terminal bool
}

// Accepts tells whether a configuration of this type is one that the filter may have.
func (d *FilterDiscovery) Accepts(typeURL string) bool { return slices.Contains(d.TypeURLs, typeURL) }

// FilterConfig is a filter configuration that was delivered by ECDS (envoy.config.core.v3.TypedExtensionConfig).
type FilterConfig struct {
	Resource
	// TypeURL of what Config was decoded from.
	TypeURL string
	Config  any
	// Terminal tells that the filter can only be the last of a chain, as it must be then.
	Terminal bool
}

// FilterReference is one need for a filter configuration that ECDS delivers.
type FilterReference struct {
	Name      string
	Discovery *FilterDiscovery
}

// FilterReferences returns all HTTP filters of the listener whose configuration ECDS delivers, those of upgrade chains
// included, in order. A name may be there more than once.
func (l *Listener) FilterReferences() []FilterReference {
	var refs []FilterReference
	add := func(list []*HTTPFilter) {
		for _, f := range list {
			if f.Discovery != nil {
				refs = append(refs, FilterReference{f.Name, f.Discovery})
			}
		}
	}
	l.eachFilter(func(n *NetworkFilter) {
		h, ok := n.Config.(*HTTPConnectionManager)
		if !ok {
			return
		}
		add(h.HTTPFilters)
		for i := range h.Upgrades {
			add(h.Upgrades[i].Filters)
		}
	})
	return refs
}

// FilterNames returns the sorted names of the filter configurations that the listener needs from ECDS.
func (l *Listener) FilterNames() []string {
	var names []string
	for _, r := range l.FilterReferences() {
		names = append(names, r.Name)
	}
	return sortedSet(names)
}
