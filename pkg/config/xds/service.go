package xds

// service says how one resource type is served.
type service struct {
	typeURL string
	// stream and delta are the methods of the type's own gRPC service, "" where it has none: VHDS and LEDS are delta only.
	stream, delta string
	// rest is the path of its REST service, "" where there is none.
	rest string
}

// services are the known types, in the order in which requests for several of them leave: make before break, as Envoy asks.
// The methods and paths are those of the service definitions in envoy/service.
var services = []service{
	{
		RuntimeType,
		"/envoy.service.runtime.v3.RuntimeDiscoveryService/StreamRuntime",
		"/envoy.service.runtime.v3.RuntimeDiscoveryService/DeltaRuntime",
		"/v3/discovery:runtime",
	},
	{
		ClusterType,
		"/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
		"/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
		"/v3/discovery:clusters",
	},
	{
		EndpointType,
		"/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
		"/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
		"/v3/discovery:endpoints",
	},
	{
		LbEndpointType,
		"",
		"/envoy.service.endpoint.v3.LocalityEndpointDiscoveryService/DeltaLocalityEndpoints",
		"",
	},
	{
		ListenerType,
		"/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners",
		"/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
		"/v3/discovery:listeners",
	},
	{
		ScopedRouteType,
		"/envoy.service.route.v3.ScopedRoutesDiscoveryService/StreamScopedRoutes",
		"/envoy.service.route.v3.ScopedRoutesDiscoveryService/DeltaScopedRoutes",
		"/v3/discovery:scoped-routes",
	},
	{
		RouteType,
		"/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
		"/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
		"/v3/discovery:routes",
	},
	{
		VirtualHostType,
		"",
		"/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts",
		"",
	},
	{
		SecretType,
		"/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
		"/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
		"/v3/discovery:secrets",
	},
	{
		FilterType,
		"/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs",
		"/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
		"/v3/discovery:extension_configs",
	},
}

// aggregated is the aggregated discovery service.
var aggregated = service{
	stream: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
	delta:  "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
}

// serviceOf finds the service of a type; ok is false when there is none.
func serviceOf(typeURL string) (s service, ok bool) {
	for _, s := range services {
		if s.typeURL == typeURL {
			return s, true
		}
	}
	return service{}, false
}

// method is the gRPC method of one of the protocols, "" where there is none.
func (s service) method(delta bool) string {
	if delta {
		return s.delta
	}
	return s.stream
}
