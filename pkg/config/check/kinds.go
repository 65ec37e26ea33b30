package check

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
)

// Kinds of resources that are delivered one by one.
const (
	scopeKind    = "scoped route configuration"
	hostKind     = "virtual host"
	endpointKind = "endpoint"
	layerKind    = "runtime layer"
)

// identify returns the kind and name of a resource, as translate calls it. Endpoints have no name of their own and virtual
// hosts only a part of it: what is around them names those.
func identify(m proto.Message, wrapper string) (kind, name string) {
	switch m := m.(type) {
	case *listenerv3.Listener:
		kind, name = "listener", translate.ListenerName(m)
	case *clusterv3.Cluster:
		kind, name = "cluster", m.GetName()
	case *routev3.RouteConfiguration:
		kind, name = "route configuration", m.GetName()
	case *endpointv3.ClusterLoadAssignment:
		kind, name = "load assignment", m.GetClusterName()
	case *secretv3.Secret:
		kind, name = "secret", m.GetName()
	case *corev3.TypedExtensionConfig:
		kind, name = "filter configuration", m.GetName()
	case *routev3.ScopedRouteConfiguration:
		kind, name = scopeKind, m.GetName()
	case *routev3.VirtualHost:
		if wrapper != "" {
			return hostKind, wrapper
		}
		kind, name = hostKind, m.GetName()
	case *endpointv3.LbEndpoint:
		kind = endpointKind
	case *runtimev3.Runtime:
		kind, name = layerKind, m.GetName()
	case interface{ GetName() string }:
		kind, name = string(proto.MessageName(m.(proto.Message)).Name()), m.GetName()
	default:
		kind = string(proto.MessageName(m).Name())
	}
	if name == "" {
		name = wrapper
	}
	return kind, name
}

// nameField is where a resource of a kind has its name.
func nameField(kind string) string {
	switch kind {
	case "load assignment":
		return "cluster_name"
	case endpointKind:
		return ""
	}
	return "name"
}

// misnamed tells what is wrong with the name of a resource whose name says what it belongs to; empty for nothing.
func misnamed(r *resource) string {
	const wrap = ` in an envoy.service.discovery.v3.Resource around it`
	switch r.message.(type) {
	case *routev3.VirtualHost:
		if _, ok := translate.SplitHost(r.name); !ok {
			return "the name must be ROUTE_CONFIGURATION/VIRTUAL_HOST, here or" + wrap
		}
	case *endpointv3.LbEndpoint:
		if _, ok := translate.CollectionOf(r.name); !ok {
			return "the name must be COLLECTION/ENDPOINT," + wrap
		}
	}
	return ""
}

// translate translates a resource into the group. Types that nothing translates have been decoded, and that is all.
func (s *resources) translate(r *resource) (warnings []translate.Warning, err error) {
	t, meta, g := s.checker.Translator, translate.Meta{Dynamic: true}, &s.group
	switch m := r.message.(type) {
	case *listenerv3.Listener:
		l, warnings, err := t.ListenerParts(m, meta)
		if err != nil {
			g.Faulty[r.name] = l
			return warnings, err
		}
		return keep(g.Listeners, r.name)(l, warnings, nil)
	case *clusterv3.Cluster:
		return keep(g.Clusters, r.name)(t.Cluster(m, meta))
	case *routev3.RouteConfiguration:
		return keep(g.Routes, r.name)(t.RouteConfig(m, meta))
	case *endpointv3.ClusterLoadAssignment:
		return keep(g.Endpoints, r.name)(t.LoadAssignment(m, meta))
	case *secretv3.Secret:
		return keep(g.Secrets, r.name)(t.Secret(m, meta))
	case *corev3.TypedExtensionConfig:
		return keep(g.Filters, r.name)(t.FilterConfig(m, meta))
	case *routev3.ScopedRouteConfiguration:
		return s.scope(r, m, meta)
	case *routev3.VirtualHost:
		return keep(g.Hosts, r.name)(t.VirtualHost(m, s.routesOf(r.name), meta))
	case *endpointv3.LbEndpoint:
		collection, _ := translate.CollectionOf(r.name)
		g.Collections[collection] = true
		_, warnings, err = t.Endpoint(r.name, m, meta)
	case *runtimev3.Runtime:
		g.Layers[r.name] = true
		_, warnings, err = t.RuntimeLayer(m, meta)
	}
	return warnings, err
}

// keep returns a function that puts what was translated under a name.
func keep[M any](into map[string]M, name string) func(M, []translate.Warning, error) ([]translate.Warning, error) {
	return func(m M, warnings []translate.Warning, err error) ([]translate.Warning, error) {
		if err == nil {
			into[name] = m
		}
		return warnings, err
	}
}

// scope translates a scope of SRDS, whose key must be its own.
func (s *resources) scope(r *resource, m *routev3.ScopedRouteConfiguration, meta translate.Meta) ([]translate.Warning, error) {
	v, warnings, err := s.checker.Translator.Scope(m, meta)
	if err != nil {
		return warnings, err
	}
	key := scopeKey{r.file, v.Key}
	if first := s.scopes[key]; first != nil {
		return warnings, &translate.FieldError{Path: "key", Code: translate.CodeDuplicate, Reason: translate.ScopeConflict(first.name, r.name)}
	}
	s.scopes[key] = r
	s.group.Scopes[r.name] = v
	return warnings, nil
}

// maxDirectResponse is Envoy's default of RouteConfiguration.max_direct_response_body_size_bytes.
const maxDirectResponse = 4096

// routesOf is the route configuration of a virtual host of VHDS, or one with defaults in place of one that is not there.
func (s *resources) routesOf(host string) *model.RouteConfig {
	routes, _ := translate.SplitHost(host)
	if v := s.group.Routes[routes]; v != nil {
		return v
	}
	return &model.RouteConfig{Resource: model.Resource{Name: routes}, MaxDirectResponseBytes: maxDirectResponse}
}
