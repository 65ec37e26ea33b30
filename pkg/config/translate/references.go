package translate

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/runtime"
)

// Group is a set of resources that is checked as a whole: those of a bootstrap, or of several files. Its maps are by name
// and may be nil.
type Group struct {
	Listeners map[string]*model.Listener
	Clusters  map[string]*model.Cluster
	Routes    map[string]*model.RouteConfig
	Endpoints map[string]*model.LoadAssignment
	Secrets   map[string]*model.Secret
	Filters   map[string]*model.FilterConfig
	// Scopes came over SRDS, Hosts over VHDS, by the names of their resources.
	Scopes map[string]*model.Scope
	Hosts  map[string]*model.VirtualHost
	// Collections are those that endpoints of LEDS belong to, and Layers the names of runtime layers of RTDS.
	Collections, Layers map[string]bool
	// Broken are further resources, as FieldError.Resource calls them, that are there but could not be translated. Nobody is
	// told that they are missing.
	Broken map[string]bool
	// Faulty are listeners that have errors, as far as they could be translated. What they name is checked nevertheless.
	Faulty map[string]*model.Listener
	// StaticClusters are the names of clusters that a management server may be reached through; nil: all of Clusters.
	StaticClusters map[string]bool
	// Servers are the management servers that the bootstrap itself names, by the path of their field.
	Servers map[string]*model.APISource
	// Sinks are where the bootstrap ships statistics to, and Runtime its layers of the runtime.
	Sinks   []StatsSink
	Runtime []runtime.Layer
	// Extensions are those of the bootstrap.
	Extensions []BootstrapExtension
	// Admin is the admin interface, whose address no listener can have; nil when there is none.
	Admin *Admin
	// Complete tells that what a control plane would deliver is in the group too, so that names which nothing defines are
	// worth a warning.
	Complete bool
	// DynamicClusters tells that there are clusters that are not in the group, so that only references which Envoy refuses
	// are told of.
	DynamicClusters bool
	// DynamicListeners tells the same of listeners.
	DynamicListeners bool
}

// References checks what holds the resources of a group together: routes and TCP proxies name clusters that exist, static
// secrets are defined, and no two listeners want the same address. The order of findings is that of the resources' names.
func (g *Group) References() ([]Warning, error) {
	r := &references{Group: g, listeners: maps.Clone(g.Faulty)}
	if len(g.Faulty) == 0 {
		r.listeners = g.Listeners
	} else {
		maps.Copy(r.listeners, g.Listeners)
	}
	for _, name := range slices.Sorted(maps.Keys(r.listeners)) {
		r.listener(r.listeners[name])
	}
	for _, name := range slices.Sorted(maps.Keys(g.Clusters)) {
		r.upstream(g.Clusters[name])
	}
	for _, name := range slices.Sorted(maps.Keys(g.Routes)) {
		r.routes(resourceName("route configuration", name), "", g.Routes[name])
	}
	r.deliveries()
	r.filterConfigs()
	for _, at := range slices.Sorted(maps.Keys(g.Servers)) {
		r.api("", at, g.Servers[at])
	}
	for i, s := range g.Sinks {
		r.sink(fmt.Sprintf("stats_sinks[%d].typed_config", i), s)
	}
	r.interception()
	r.addresses()
	return r.warnings, errors.Join(r.errs...)
}

// Group returns the static resources, for Group.References. Of two resources with one name the last counts.
func (s *Static) Group() *Group {
	g := &Group{
		Listeners: map[string]*model.Listener{}, Clusters: map[string]*model.Cluster{}, Secrets: map[string]*model.Secret{},
		StaticClusters: map[string]bool{}, Broken: map[string]bool{}, DynamicClusters: s.CDS != nil, DynamicListeners: s.LDS != nil,
		Faulty: map[string]*model.Listener{},
		Servers: map[string]*model.APISource{
			"dynamic_resources.ads_config": s.ADS, "hds_config": s.HDS, "cluster_manager.load_stats_config": s.LoadStats,
		},
		Sinks: s.Sinks, Runtime: s.Runtime, Extensions: s.Extensions, Admin: s.Admin,
	}
	for at, source := range map[string]*model.Source{"lds_config": s.LDS, "cds_config": s.CDS} {
		if source != nil {
			g.Servers["dynamic_resources."+at+".api_config_source"] = source.API
		}
	}
	for _, l := range s.Listeners {
		g.Listeners[l.Name] = l
	}
	for _, c := range s.Clusters {
		g.Clusters[c.Name] = c
		g.StaticClusters[c.Name] = true
	}
	for _, x := range s.Secrets {
		g.Secrets[x.Name] = x
	}
	return g
}

// references collects what Group.References finds.
type references struct {
	*Group
	// listeners are those of the group, the faulty ones included.
	listeners map[string]*model.Listener
	errs      []error
	warnings  []Warning
	// suggested counts the searches for near names.
	suggested int
}

// missing is one reference to something that is not there.
type missing struct {
	resource, at string
	// kind and name of what is referred to, and what is known of the kind.
	kind, name string
}

// maxSuggestions bounds how often a near name is searched for, which looks at all names.
const maxSuggestions = 64

// has tells whether a resource is there, if only with errors.
func (r *references) has(kind, name string, there bool) bool {
	return there || r.Broken[resourceName(kind, name)]
}

func (r *references) fail(m missing, format string, args ...any) {
	r.errs = append(r.errs, &FieldError{
		Resource: m.resource, Path: m.at, Reason: fmt.Sprintf(format, args...), Code: CodeReference, Suggestion: r.suggest(m),
	})
}

func (r *references) warn(m missing, format string, args ...any) {
	r.warnings = append(r.warnings, Warning{
		Resource: m.resource, Path: m.at, Reason: fmt.Sprintf(format, args...), Code: CodeReference, Suggestion: r.suggest(m),
	})
}

// listener checks what the chains of a listener name.
func (r *references) listener(l *model.Listener) {
	resource := listenerResource(l)
	for i, f := range l.ListenerFilters {
		r.discovery(resource, fmt.Sprintf("listener_filters[%d]", i), f.Name, f.Discovery)
		at := fmt.Sprintf("listener_filters[%d].typed_config", i)
		switch u := f.Config.(type) {
		case *model.UDPProxy:
			r.udp(resource, at, u)
		case *model.DNSFilter:
			r.dns(resource, at, u)
		}
	}
	for i, c := range l.FilterChains {
		r.chain(resource, fmt.Sprintf("filter_chains[%d]", i), c)
	}
	if l.DefaultFilterChain != nil {
		r.chain(resource, "default_filter_chain", l.DefaultFilterChain)
	}
}

func (r *references) chain(resource, at string, c *model.FilterChain) {
	if c.TLS != nil {
		r.secrets(resource, at+".transport_socket", &c.TLS.TLSParams)
	}
	for i, f := range c.Filters {
		at := fmt.Sprintf("%s.filters[%d]", at, i)
		r.network(resource, at+".typed_config", f.Config)
		r.discovery(resource, at, f.Name, f.Discovery)
	}
}

// network checks what a network filter names, whose configuration is at at.
func (r *references) network(resource, at string, config any) {
	switch f := config.(type) {
	case *model.HTTPConnectionManager:
		r.manager(resource, at, f)
	case *model.TCPProxy:
		r.tcp(resource, at, f)
	}
}

func (r *references) manager(resource, at string, f *model.HTTPConnectionManager) {
	if f.InlineRoutes != nil {
		r.routes(resource, at+".route_config", f.InlineRoutes)
	}
	r.source(resource, at+".rds.config_source", f.RouteSource)
	r.scopes(resource, at+".scoped_routes", f.Scoped)
	if name := f.RouteConfigName; name != "" && f.InlineRoutes == nil {
		r.delivered(missing{resource, at + ".rds.route_config_name", "route configuration", name}, r.Routes[name] != nil)
	}
	r.filters(resource, at+".http_filters", f.HTTPFilters)
	for i := range f.Upgrades {
		r.filters(resource, fmt.Sprintf("%s.upgrade_configs[%d].filters", at, i), f.Upgrades[i].Filters)
	}
}

// delivered warns about a name that a control plane is to deliver and that a complete group does not define.
func (r *references) delivered(m missing, there bool) {
	if r.Complete && !r.has(m.kind, m.name, there) {
		r.warn(m, "no file defines the %s '%s'", m.kind, m.name)
	}
}

// tcp warns about unknown clusters: Envoy accepts them, and closes the connections that would go there.
func (r *references) tcp(resource, at string, p *model.TCPProxy) {
	for i, c := range p.Clusters {
		field := at + ".cluster"
		if len(p.Clusters) > 1 {
			field = fmt.Sprintf("%s.weighted_clusters.clusters[%d].name", at, i)
		}
		r.cluster(resource, field, c.Name, false, "connections are closed")
	}
}

// upstream checks what a cluster names.
func (r *references) upstream(c *model.Cluster) {
	resource := resourceName("cluster", c.Name)
	if c.TLS != nil {
		r.secrets(resource, "transport_socket", &c.TLS.TLSParams)
	}
	for i := range c.TransportSocketMatches {
		if t := c.TransportSocketMatches[i].TLS; t != nil {
			r.secrets(resource, fmt.Sprintf("transport_socket_matches[%d].transport_socket", i), &t.TLSParams)
		}
	}
	r.source(resource, "eds_cluster_config.eds_config", c.EDSSource)
	r.filters(resource, "http_filters", c.Filters)
	if c.NeedsEDS() {
		name, at := c.Name, "eds_cluster_config"
		if c.EDSServiceName != "" {
			name, at = c.EDSServiceName, "eds_cluster_config.service_name"
		}
		r.delivered(missing{resource, at, "load assignment", name}, r.Endpoints[name] != nil)
	}
}

// secrets checks that the secrets of a TLS context are defined.
func (r *references) secrets(resource, at string, p *model.TLSParams) {
	at += ".typed_config.common_tls_context."
	for i, c := range p.Certificates {
		r.secret(resource, fmt.Sprintf("%stls_certificate_sds_secret_configs[%d]", at, i), c.Secret, c.Source)
	}
	if v := p.Validation; v != nil {
		if v.Inline != nil {
			at += "combined_validation_context."
		}
		r.secret(resource, at+"validation_context_sds_secret_config", v.Secret, v.Source)
	}
}

func (r *references) secret(resource, at, name string, source *model.Source) {
	m := missing{resource, at + ".name", "secret", name}
	switch {
	case name == "":
	case source == nil && !r.has(m.kind, name, r.Secrets[name] != nil):
		r.fail(m, "unknown static secret '%s'", name)
	case source != nil:
		r.delivered(m, r.Secrets[name] != nil)
	}
	r.source(resource, at+".sds_config", source)
}

// source checks that the clusters of a management server exist.
func (r *references) source(resource, at string, s *model.Source) {
	if s != nil {
		r.api(resource, at+".api_config_source", s.API)
	}
}

func (r *references) api(resource, at string, a *model.APISource) {
	if a == nil {
		return
	}
	for i, name := range a.Clusters {
		r.primary(missing{resource, fmt.Sprintf("%s.cluster_names[%d]", at, i), "cluster", name}, "REST")
	}
	for i, service := range a.Services {
		r.primary(missing{resource, fmt.Sprintf("%s.grpc_services[%d].envoy_grpc.cluster_name", at, i), "cluster", service.Cluster}, "gRPC")
	}
}

// primary checks the cluster of a control plane. As in Envoy its endpoints must not come from a control plane themselves.
func (r *references) primary(m missing, protocol string) {
	r.server(m, protocol)
	if c := r.Clusters[m.name]; c != nil && c.EDSSource != nil && c.EDSSource.Kind != model.SourcePath {
		r.errs = append(r.errs, &FieldError{
			Resource: m.resource, Path: m.at, Code: CodeReference,
			Reason: fmt.Sprintf("the %s cluster '%s' has its endpoints from a control plane: it must be a static cluster, and no EDS cluster", protocol, m.name),
		})
	}
}

// server checks the cluster of a management server.
func (r *references) server(m missing, protocol string) {
	there := r.Clusters[m.name] != nil
	if r.StaticClusters != nil {
		there = r.StaticClusters[m.name]
	}
	if m.name != "" && !r.has(m.kind, m.name, there) {
		r.fail(m, "unknown %s cluster '%s': it must be a static cluster", protocol, m.name)
	}
}

// sink checks the cluster that statistics are shipped to.
func (r *references) sink(at string, s StatsSink) {
	r.server(missing{"", at + ".grpc_service.envoy_grpc.cluster_name", "cluster", s.Service.Cluster}, "gRPC")
	if tcp, ok := s.Config.(interface{ TCPCluster() string }); ok {
		r.server(missing{"", at + ".tcp_cluster_name", "cluster", tcp.TCPCluster()}, "TCP")
	}
}

// suggest names what is spelled nearly as what is missing; empty when nothing is.
func (r *references) suggest(m missing) string {
	if r.suggested++; r.suggested > maxSuggestions {
		return ""
	}
	names := map[string]iter.Seq[string]{
		"cluster": maps.Keys(r.Clusters), "secret": maps.Keys(r.Secrets), "route configuration": maps.Keys(r.Routes),
		"load assignment": maps.Keys(r.Endpoints), "filter configuration": maps.Keys(r.Filters),
		"listener": maps.Keys(r.Listeners), "endpoint collection": maps.Keys(r.Collections), "runtime layer": maps.Keys(r.Layers),
	}[m.kind]
	all := func(yield func(string) bool) {
		for resource := range r.Broken {
			if kind, quoted, _ := strings.Cut(resource, " "); kind == m.kind && !yield(strings.Trim(quoted, `"`)) {
				return
			}
		}
		if names != nil {
			names(yield)
		}
	}
	if near := extension.Nearest(m.name, all); near != "" {
		return fmt.Sprintf("did you mean '%s'?", near)
	}
	return ""
}
