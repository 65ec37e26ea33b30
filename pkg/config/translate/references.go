package translate

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// ValidateReferences checks what holds resources of a snapshot together: routes and TCP proxies name clusters that
// exist, static secrets are defined, and no two listeners want the same address. Resources that are to come over xDS are
// not missed. The order of findings is that of the resources' names.
func ValidateReferences(s *model.Snapshot) ([]Warning, error) {
	r := &references{snapshot: s}
	for _, l := range s.Listeners.Sorted() {
		r.listener(l)
	}
	for name, c := range s.Clusters.Sorted() {
		r.secrets(resourceName("cluster", name), c.SecretReferences())
		r.source(resourceName("cluster", name), "eds_cluster_config.eds_config", c.EDSSource)
	}
	for name, routes := range s.Routes.Sorted() {
		r.routes(resourceName("route configuration", name), "", routes)
	}
	r.addresses()
	return r.warnings, errors.Join(r.errs...)
}

// references collects what ValidateReferences finds.
type references struct {
	snapshot *model.Snapshot
	errs     []error
	warnings []Warning
}

func (r *references) fail(resource, at, format string, args ...any) {
	r.errs = append(r.errs, &FieldError{Resource: resource, Path: at, Reason: fmt.Sprintf(format, args...)})
}

// listener checks what the chains of a listener name.
func (r *references) listener(l *model.Listener) {
	resource := resourceName("listener", l.Name)
	r.secrets(resource, l.SecretReferences())
	for i, c := range l.FilterChains {
		r.chain(resource, fmt.Sprintf("filter_chains[%d]", i), c)
	}
	if l.DefaultFilterChain != nil {
		r.chain(resource, "default_filter_chain", l.DefaultFilterChain)
	}
}

func (r *references) chain(resource, at string, c *model.FilterChain) {
	for i, f := range c.Filters {
		at := fmt.Sprintf("%s.filters[%d].typed_config", at, i)
		switch f := f.Config.(type) {
		case *model.HTTPConnectionManager:
			if f.InlineRoutes != nil {
				r.routes(resource, at+".route_config", f.InlineRoutes)
			}
			r.source(resource, at+".rds.config_source", f.RouteSource)
			for j, h := range f.HTTPFilters {
				if h.Discovery != nil {
					r.source(resource, fmt.Sprintf("%s.http_filters[%d].config_discovery.config_source", at, j), h.Discovery.Source)
				}
			}
		case *model.TCPProxy:
			r.tcp(resource, at, f)
		}
	}
}

// tcp warns about unknown clusters: Envoy accepts them, and closes the connections that would go there.
func (r *references) tcp(resource, at string, p *model.TCPProxy) {
	for _, c := range p.Clusters {
		if r.snapshot.Clusters.Get(c.Name) == nil {
			r.warnings = append(r.warnings, Warning{resource, at, fmt.Sprintf("unknown cluster '%s': connections are closed until it exists", c.Name)})
		}
	}
}

// routes checks the clusters of a route configuration: unknown ones are errors where validate_clusters holds.
func (r *references) routes(resource, at string, c *model.RouteConfig) {
	if at != "" {
		at += "."
	}
	r.mirrors(resource, at, c.Mirrors, c.ValidateClusters)
	for i, vh := range c.VirtualHosts {
		r.mirrors(resource, fmt.Sprintf("%svirtual_hosts[%d].", at, i), vh.Mirrors, c.ValidateClusters)
		for j, route := range vh.Routes {
			r.route(resource, fmt.Sprintf("%svirtual_hosts[%d].routes[%d].route.", at, i, j), route, c.ValidateClusters)
		}
		for j, route := range vh.MatcherRoutes {
			r.route(resource, fmt.Sprintf("%svirtual_hosts[%d].matcher.(route %d).route.", at, i, j+1), route, c.ValidateClusters)
		}
	}
}

// route checks the clusters of one route; at is the beginning of their paths.
func (r *references) route(resource, at string, route *model.Route, validate bool) {
	if route.Action == nil {
		return
	}
	a := route.Action
	r.cluster(resource, at+"cluster", a.Cluster, validate)
	for i, w := range a.Weighted {
		r.cluster(resource, fmt.Sprintf("%sweighted_clusters.clusters[%d].name", at, i), w.Name, validate)
	}
	r.mirrors(resource, at, a.Mirrors, validate)
}

// mirrors checks where copies of requests go; at is the beginning of their paths.
func (r *references) mirrors(resource, at string, list []model.Mirror, validate bool) {
	for i, m := range list {
		r.cluster(resource, fmt.Sprintf("%srequest_mirror_policies[%d].cluster", at, i), m.Cluster, validate)
	}
}

func (r *references) cluster(resource, at, name string, validate bool) {
	switch {
	case name == "" || r.snapshot.Clusters.Get(name) != nil:
	case validate:
		r.fail(resource, at, "route: unknown cluster '%s'", name)
	default:
		r.warnings = append(r.warnings, Warning{resource, at, fmt.Sprintf("unknown cluster '%s': requests are answered with the cluster-not-found status until it exists", name)})
	}
}

// secrets checks that static secrets are defined.
func (r *references) secrets(resource string, refs []model.SecretReference) {
	for _, ref := range refs {
		if ref.Source == nil && r.snapshot.Secrets.Get(ref.Name) == nil {
			r.fail(resource, "transport_socket", "unknown static secret '%s'", ref.Name)
		}
		r.source(resource, "transport_socket", ref.Source)
	}
}

// source checks that the clusters of a management server exist.
func (r *references) source(resource, at string, s *model.Source) {
	if s == nil || s.API == nil {
		return
	}
	for _, service := range s.API.Services {
		if r.snapshot.Clusters.Get(service.Cluster) == nil {
			r.fail(resource, at, "unknown gRPC cluster '%s': it must be a static cluster", service.Cluster)
		}
	}
}

// addresses checks that no two listeners that bind want the same address.
func (r *references) addresses() {
	owner := map[string]string{}
	claim := func(l *model.Listener, at, address string) {
		if other, taken := owner[address]; taken {
			r.fail(resourceName("listener", l.Name), at, "error adding listener: '%s' has duplicate address '%s' as existing listener '%s'", l.Name, address, other)
			return
		}
		owner[address] = l.Name
	}
	for _, l := range r.snapshot.Listeners.Sorted() {
		if !l.BindToPort {
			continue
		}
		if l.Pipe != "" {
			claim(l, "address", l.Pipe)
		}
		for i, a := range append([]netip.AddrPort{l.Address}, l.AdditionalAddresses...) {
			at := "address"
			if i > 0 {
				at = fmt.Sprintf("additional_addresses[%d]", i-1)
			}
			// Port 0 means any free port, so it clashes with nothing.
			if a.IsValid() && a.Port() != 0 {
				claim(l, at, a.String())
			}
		}
	}
}

// Snapshot returns the static resources as a snapshot, for ValidateReferences. Of two resources with one name the last
// counts.
func (s *Static) Snapshot() *model.Snapshot {
	out := &model.Snapshot{Interception: s.Interception}
	for _, l := range s.Listeners {
		out.Listeners = out.Listeners.With(l.Name, l)
	}
	for _, c := range s.Clusters {
		out.Clusters = out.Clusters.With(c.Name, c)
	}
	for _, x := range s.Secrets {
		out.Secrets = out.Secrets.With(x.Name, x)
	}
	return out
}
