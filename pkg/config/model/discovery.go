package model

import "slices"

// FilterKind tells which chain a filter belongs to whose configuration ECDS delivers.
type FilterKind uint8

// Kinds of filters.
const (
	HTTPFilterKind FilterKind = iota
	UpstreamHTTPFilterKind
	NetworkFilterKind
	ListenerFilterKind
)

// Stat is Envoy's name of the kind in statistics (extension_config_discovery.<Stat>.<name>.).
func (k FilterKind) Stat() string {
	return [...]string{"http_filter", "upstream_http_filter", "network_filter", "tcp_listener_filter"}[k]
}

// Chain is Envoy's name of the chain in errors.
func (k FilterKind) Chain() string {
	return [...]string{"http", "upstream http", "network", "listener"}[k]
}

// FilterDiscovery is envoy.config.core.v3.ExtensionConfigSource: a filter whose configuration ECDS delivers.
type FilterDiscovery struct {
	Kind   FilterKind
	Source *Source
	// TypeURLs are those of the configurations that are accepted; at least one.
	TypeURLs []string
	// Default serves while nothing was received; it has no name. When it is nil, HTTP filters answer with 500 then, and
	// connections are closed that would need another filter.
	Default *FilterConfig
	// WithoutWarming serves with Default at once, instead of waiting for the first answer.
	WithoutWarming bool
	// Terminal tells that the filter is the last of its chain. Listener filters never are.
	Terminal bool
}

// Accepts tells whether a configuration of this type is one that the filter may have.
func (d *FilterDiscovery) Accepts(typeURL string) bool { return slices.Contains(d.TypeURLs, typeURL) }

// Choose is the configuration that the filter has now: what was delivered if it may have that, else its default one, which
// may be nil. delivered may be nil.
func (d *FilterDiscovery) Choose(delivered *FilterConfig) *FilterConfig {
	if delivered != nil && d.Accepts(delivered.TypeURL) && delivered.Terminal == d.Terminal {
		return delivered
	}
	return d.Default
}

// FilterConfig is a filter configuration that was delivered by ECDS (envoy.config.core.v3.TypedExtensionConfig).
type FilterConfig struct {
	Resource
	// TypeURL of what Config was decoded from.
	TypeURL string
	// Config is what a filter's own package decoded, *HTTPConnectionManager or *TCPProxy.
	Config any
	// Terminal tells that the filter can only be the last of a chain, as it must be then.
	Terminal bool
	// Upstream and UpstreamLogs are those of a router, as in HTTPFilter.
	Upstream     []*HTTPFilter
	UpstreamLogs []*AccessLog
}

// FilterReference is one need for a filter configuration that ECDS delivers.
type FilterReference struct {
	Name      string
	Discovery *FilterDiscovery
}

// FilterReferences returns all filters of the listener whose configuration ECDS delivers: listener filters, network filters,
// and the HTTP filters of its connection managers. A name may be there more than once.
func (l *Listener) FilterReferences() []FilterReference {
	var refs []FilterReference
	for _, f := range l.ListenerFilters {
		if f.Discovery != nil {
			refs = append(refs, FilterReference{f.Name, f.Discovery})
		}
	}
	for _, c := range l.chains() {
		for _, n := range c.Filters {
			if n.Discovery != nil {
				refs = append(refs, FilterReference{n.Name, n.Discovery})
			}
		}
	}
	return append(refs, managerFilters(l.managers())...)
}

// FilterReferences returns the filters that the configuration needs from ECDS in turn: the HTTP filters of a connection
// manager, the upstream filters of a router.
func (f *FilterConfig) FilterReferences() []FilterReference {
	return addFilters(managerFilters(f.managers()), f.Upstream)
}

// FilterReferences returns the upstream filters of the cluster whose configuration ECDS delivers, in order.
func (c *Cluster) FilterReferences() []FilterReference { return addFilters(nil, c.Filters) }

// managerFilters are the HTTP filters of connection managers, those of upgrade chains included, in order, and the upstream
// filters of their routers.
func managerFilters(managers []*HTTPConnectionManager) []FilterReference {
	var refs []FilterReference
	for _, h := range managers {
		refs = addFilters(refs, h.HTTPFilters)
		for i := range h.Upgrades {
			refs = addFilters(refs, h.Upgrades[i].Filters)
		}
	}
	return refs
}

func addFilters(refs []FilterReference, list []*HTTPFilter) []FilterReference {
	for _, f := range list {
		if f.Discovery != nil {
			refs = append(refs, FilterReference{f.Name, f.Discovery})
			if f.Discovery.Default != nil {
				refs = addFilters(refs, f.Discovery.Default.Upstream)
			}
		}
		refs = addFilters(refs, f.Upstream)
	}
	return refs
}
