package main

import (
	"fmt"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The shape of a fleet is that of a mesh: EDS clusters with endpoints in two zones, and one listener for each port of the
// services, whose routes come by RDS. Its size is a scale: so many times what follows.
const (
	clustersPerScale  = 50
	endpointsPerGroup = 10 // in each of two zones
	listenersPerScale = 1
	hostsPerListener  = 10
	routesPerHost     = 5
	// liveClusters are at the backend, so that requests to them are answered; the endpoints of others are not reached.
	liveClusters = routesPerHost
)

// Type URLs of the resources that the fleet has.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// fleet makes the resources of a size. Their content depends on the number of a resource and on a turn: each turn makes it
// different in one place.
type fleet struct {
	scale int
	// port is where the first listener is; the others are at ports of the kernel's choice.
	port int
	// backend is the port of the live endpoints.
	backend int
	// large adds a cluster with largeEndpoints.
	large bool
}

// largeEndpoints is how many endpoints the large cluster has, and largeCluster its number.
const (
	largeEndpoints = 5000
	largeCluster   = 1 << 20
)

func (f fleet) clusters() int  { return clustersPerScale * f.scale }
func (f fleet) listeners() int { return listenersPerScale * f.scale }
func (f fleet) endpoints() int { return f.clusters() * 2 * endpointsPerGroup }
func (f fleet) routes() int    { return f.listeners() * hostsPerListener * routesPerHost }

func clusterName(i int) string {
	return fmt.Sprintf("outbound|80||service-%d.shop.svc.cluster.local", i)
}

func routesName(i int) string { return fmt.Sprintf("http.%d", 8000+i) }

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func (f fleet) cluster(i, turn int) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 clusterName(i),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: clusterName(i)},
		ConnectTimeout:       durationpb.New(time.Second + time.Duration(turn)*time.Millisecond),
		LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(4096), MaxPendingRequests: wrapperspb.UInt32(4096), MaxRequests: wrapperspb.UInt32(4096),
			MaxRetries: wrapperspb.UInt32(1024),
		}}},
	}
}

// largeAssignment is that of the large cluster.
func (f fleet) largeAssignment(turn int) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Region: "eu-1", Zone: "eu-1a"}, LoadBalancingWeight: wrapperspb.UInt32(1)}
	for n := range largeEndpoints {
		address := fmt.Sprintf("11.0.%d.%d", n>>8, n&0xff)
		if n == 0 {
			address = fmt.Sprintf("11.1.0.%d", turn&0xff)
		}
		group.LbEndpoints = append(group.LbEndpoints, endpoint(address, 8080))
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: clusterName(largeCluster), Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

func (f fleet) assignment(i, turn int) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: clusterName(i)}
	for zone := range 2 {
		group := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: "eu-1", Zone: fmt.Sprintf("eu-1%c", 'a'+zone)},
			LoadBalancingWeight: wrapperspb.UInt32(1),
		}
		for e := range endpointsPerGroup {
			n := zone*endpointsPerGroup + e
			address, port := fmt.Sprintf("10.%d.%d.%d", i>>8&0xff, i&0xff, n+1), 8080
			if n == 0 {
				address = fmt.Sprintf("10.%d.%d.%d", i>>8&0xff, i&0xff, 100+turn%100)
			}
			if i < liveClusters {
				address, port = liveAddress(n), f.backend
			}
			if i < liveClusters && n == 0 && turn%2 == 1 {
				continue // comes and goes
			}
			group.LbEndpoints = append(group.LbEndpoints, endpoint(address, port))
		}
		out.Endpoints = append(out.Endpoints, group)
	}
	return out
}

// liveAddress is one of those that the backend listens at.
func liveAddress(n int) string { return fmt.Sprintf("127.0.1.%d", n+1) }

func endpoint(address string, port int) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HealthStatus:        corev3.HealthStatus_HEALTHY,
		LoadBalancingWeight: wrapperspb.UInt32(1),
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
			Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
			}},
		}}},
	}
}

func (f fleet) routeConfig(i, turn int) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{Name: routesName(i)}
	for h := range hostsPerListener {
		name := fmt.Sprintf("service-%d-%d.shop.svc.cluster.local", i, h)
		host := &routev3.VirtualHost{Name: name + ":80", Domains: []string{name, name + ":80"}}
		if i == 0 && h == 0 {
			host.Domains = []string{"*"} // takes the load
		}
		for r := range routesPerHost {
			to := clusterName(((i*hostsPerListener+h)*routesPerHost + r) % f.clusters())
			timeout := 15 * time.Second
			if h == hostsPerListener-1 && r == 0 {
				timeout += time.Duration(turn) * time.Millisecond
			}
			host.Routes = append(host.Routes, &routev3.Route{
				Name:  fmt.Sprintf("r%d", r),
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprintf("/r%d", r)}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: to}, Timeout: durationpb.New(timeout),
					RetryPolicy: &routev3.RetryPolicy{RetryOn: "connect-failure,refused-stream,unavailable", NumRetries: wrapperspb.UInt32(2)},
				}},
			})
		}
		out.VirtualHosts = append(out.VirtualHosts, host)
	}
	return out
}

func (f fleet) listener(i int) *listenerv3.Listener {
	port := 0
	if i == 0 {
		port = f.port
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     fmt.Sprintf("port_%d", 8000+i),
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: routesName(i)}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{})},
		}},
	}
	if i == 0 {
		manager.AccessLog = []*accesslogv3.AccessLog{failures()}
	}
	return &listenerv3.Listener{
		Name: fmt.Sprintf("port_%d", 8000+i), StatPrefix: fmt.Sprintf("port_%d", 8000+i),
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(manager)},
		}}}},
	}
}

// failures is a log of the requests that fail, with their flags; it is shown when a scenario ends because of them.
func failures() *accesslogv3.AccessLog {
	least := &corev3.RuntimeUInt32{DefaultValue: 500, RuntimeKey: "bench.failures"}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.stderr",
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
			StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{Op: accesslogv3.ComparisonFilter_GE, Value: least}},
		}},
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&streamv3.StderrAccessLog{
			AccessLogFormat: &streamv3.StderrAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
					InlineString: "failed: %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_HOST% %DURATION% ms\n",
				}}},
			}},
		})},
	}
}

// pack wraps a message that was made here and cannot fail to encode.
func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}
