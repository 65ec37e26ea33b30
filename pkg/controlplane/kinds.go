package controlplane

import (
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// lbEndpointType is the type of the members of endpoint collections (LEDS), for which the library has no name.
const lbEndpointType = resource.APITypePrefix + "envoy.config.endpoint.v3.LbEndpoint"

// kind is a type of resources that can be served.
type kind struct {
	url string
	// full tells that an answer of the state of the world holds all that the client asked for, so that what is absent is
	// gone; of other types only what changed is sent.
	full bool
	// service is the full name of the gRPC service, method the end of its methods' names: StreamClusters and so on.
	// deltaOnly is a service without the state of the world.
	service, method string
	deltaOnly       bool
	// path is where the type can be fetched over HTTP; "" is not at all.
	path string
}

// short is the message name, such as Cluster.
func (k *kind) short() string { return shortType(k.url) }

// allKinds are all types, in the order in which a change is told, as the xDS protocol asks for: make before break.
var allKinds = []*kind{
	{url: resource.ClusterType, full: true, service: "envoy.service.cluster.v3.ClusterDiscoveryService", method: "Clusters", path: resource.FetchClusters},
	{url: resource.EndpointType, service: "envoy.service.endpoint.v3.EndpointDiscoveryService", method: "Endpoints", path: resource.FetchEndpoints},
	{url: lbEndpointType, service: "envoy.service.endpoint.v3.LocalityEndpointDiscoveryService", method: "LocalityEndpoints", deltaOnly: true},
	{url: resource.ExtensionConfigType, service: "envoy.service.extension.v3.ExtensionConfigDiscoveryService", method: "ExtensionConfigs", path: resource.FetchExtensionConfigs},
	{url: resource.ListenerType, full: true, service: "envoy.service.listener.v3.ListenerDiscoveryService", method: "Listeners", path: resource.FetchListeners},
	{url: resource.ScopedRouteType, full: true, service: "envoy.service.route.v3.ScopedRoutesDiscoveryService", method: "ScopedRoutes", path: resource.FetchScopedRoutes},
	{url: resource.RouteType, service: "envoy.service.route.v3.RouteDiscoveryService", method: "Routes", path: resource.FetchRoutes},
	{url: resource.VirtualHostType, service: "envoy.service.route.v3.VirtualHostDiscoveryService", method: "VirtualHosts", deltaOnly: true},
	{url: resource.SecretType, service: "envoy.service.secret.v3.SecretDiscoveryService", method: "Secrets", path: resource.FetchSecrets},
	{url: resource.RuntimeType, service: "envoy.service.runtime.v3.RuntimeDiscoveryService", method: "Runtime", path: resource.FetchRuntimes},
}

// kindOf finds a kind by its type URL; nil is one that cannot be served.
func kindOf(url string) *kind {
	for _, k := range allKinds {
		if k.url == url {
			return k
		}
	}
	return nil
}

// kindNames lists the kinds for a message.
func kindNames() string {
	names := make([]string, len(allKinds))
	for i, k := range allKinds {
		names[i] = k.short()
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// shortType is the message name at the end of a type URL.
func shortType(typeURL string) string { return typeURL[strings.LastIndex(typeURL, ".")+1:] }
