package controlplane

import (
	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryservice "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extensionservice "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
)

// services are the gRPC services, all on the same pair of stream handlers. Polling (Fetch) is not implemented.
type services struct {
	discoveryservice.UnimplementedAggregatedDiscoveryServiceServer
	clusterservice.UnimplementedClusterDiscoveryServiceServer
	endpointservice.UnimplementedEndpointDiscoveryServiceServer
	listenerservice.UnimplementedListenerDiscoveryServiceServer
	routeservice.UnimplementedRouteDiscoveryServiceServer
	secretservice.UnimplementedSecretDiscoveryServiceServer
	extensionservice.UnimplementedExtensionConfigDiscoveryServiceServer

	sotw  sotw.Server
	delta delta.Server
}

func (s services) register(g *grpc.Server) {
	discoveryservice.RegisterAggregatedDiscoveryServiceServer(g, s)
	clusterservice.RegisterClusterDiscoveryServiceServer(g, s)
	endpointservice.RegisterEndpointDiscoveryServiceServer(g, s)
	listenerservice.RegisterListenerDiscoveryServiceServer(g, s)
	routeservice.RegisterRouteDiscoveryServiceServer(g, s)
	secretservice.RegisterSecretDiscoveryServiceServer(g, s)
	extensionservice.RegisterExtensionConfigDiscoveryServiceServer(g, s)
}

// StreamAggregatedResources implements the aggregated service.
func (s services) StreamAggregatedResources(x discoveryservice.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.sotw.StreamHandler(x, resource.AnyType)
}

// DeltaAggregatedResources implements the aggregated service.
func (s services) DeltaAggregatedResources(x discoveryservice.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.delta.DeltaStreamHandler(x, resource.AnyType)
}

// StreamClusters implements the service of clusters.
func (s services) StreamClusters(x clusterservice.ClusterDiscoveryService_StreamClustersServer) error {
	return s.sotw.StreamHandler(x, resource.ClusterType)
}

// DeltaClusters implements the service of clusters.
func (s services) DeltaClusters(x clusterservice.ClusterDiscoveryService_DeltaClustersServer) error {
	return s.delta.DeltaStreamHandler(x, resource.ClusterType)
}

// StreamEndpoints implements the service of endpoints.
func (s services) StreamEndpoints(x endpointservice.EndpointDiscoveryService_StreamEndpointsServer) error {
	return s.sotw.StreamHandler(x, resource.EndpointType)
}

// DeltaEndpoints implements the service of endpoints.
func (s services) DeltaEndpoints(x endpointservice.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return s.delta.DeltaStreamHandler(x, resource.EndpointType)
}

// StreamListeners implements the service of listeners.
func (s services) StreamListeners(x listenerservice.ListenerDiscoveryService_StreamListenersServer) error {
	return s.sotw.StreamHandler(x, resource.ListenerType)
}

// DeltaListeners implements the service of listeners.
func (s services) DeltaListeners(x listenerservice.ListenerDiscoveryService_DeltaListenersServer) error {
	return s.delta.DeltaStreamHandler(x, resource.ListenerType)
}

// StreamRoutes implements the service of routes.
func (s services) StreamRoutes(x routeservice.RouteDiscoveryService_StreamRoutesServer) error {
	return s.sotw.StreamHandler(x, resource.RouteType)
}

// DeltaRoutes implements the service of routes.
func (s services) DeltaRoutes(x routeservice.RouteDiscoveryService_DeltaRoutesServer) error {
	return s.delta.DeltaStreamHandler(x, resource.RouteType)
}

// StreamSecrets implements the service of secrets.
func (s services) StreamSecrets(x secretservice.SecretDiscoveryService_StreamSecretsServer) error {
	return s.sotw.StreamHandler(x, resource.SecretType)
}

// DeltaSecrets implements the service of secrets.
func (s services) DeltaSecrets(x secretservice.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.delta.DeltaStreamHandler(x, resource.SecretType)
}

// StreamExtensionConfigs implements the service of configurations of extensions.
func (s services) StreamExtensionConfigs(x extensionservice.ExtensionConfigDiscoveryService_StreamExtensionConfigsServer) error {
	return s.sotw.StreamHandler(x, resource.ExtensionConfigType)
}

// DeltaExtensionConfigs implements the service of configurations of extensions.
func (s services) DeltaExtensionConfigs(x extensionservice.ExtensionConfigDiscoveryService_DeltaExtensionConfigsServer) error {
	return s.delta.DeltaStreamHandler(x, resource.ExtensionConfigType)
}
