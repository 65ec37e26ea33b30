package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Type URLs of the resources that a fleet has.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
)

// fleet is so many services, each an unbound listener that only hands connections to a cluster. All endpoints are on loopback
// addresses of their own, at one port.
type fleet struct {
	services, each, port int
	// other gives it names and addresses apart from those of another fleet of the same weir.
	other bool
	// swap has the first service have one endpoint only, which is another one after each turn.
	swap bool
}

func (f fleet) name(i int) string {
	if f.other {
		return fmt.Sprintf("other-%d", i)
	}
	return fmt.Sprintf("service-%d", i)
}

// nth is the n-th address from first on.
func nth(first [4]byte, n int) netip.Addr {
	at := binary.BigEndian.Uint32(first[:]) + uint32(n)
	binary.BigEndian.PutUint32(first[:], at)
	return netip.AddrFrom4(first)
}

// service is what applications connect to.
func (f fleet) service(i int) netip.AddrPort {
	if f.other {
		return netip.AddrPortFrom(nth([4]byte{10, 98, 0, 0}, i), servicePort)
	}
	return netip.AddrPortFrom(nth([4]byte{10, 96, 0, 0}, i), servicePort)
}

// endpoint is one of a service.
func (f fleet) endpoint(i, n int) netip.AddrPort {
	return netip.AddrPortFrom(nth([4]byte{127, 1, 0, 0}, i*f.each+n), uint16(f.port))
}

// swapped is the endpoint of the first service in a turn.
func (f fleet) swapped(turn int) netip.AddrPort { return f.endpoint(0, 1+turn%2) }

func (f fleet) cluster(i int) *clusterv3.Cluster {
	ads := &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
	return &clusterv3.Cluster{
		Name:                 f.name(i),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads},
		ConnectTimeout:       durationpb.New(time.Second),
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			{MaxConnections: wrapperspb.UInt32(100_000)},
		}},
	}
}

func (f fleet) assignment(i, turn int) *endpointv3.ClusterLoadAssignment {
	group := &endpointv3.LocalityLbEndpoints{}
	add := func(at netip.AddrPort) {
		group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(at)}},
		})
	}
	if f.swap && i == 0 {
		add(f.swapped(turn))
	} else {
		for n := range f.each {
			add(f.endpoint(i, n))
		}
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: f.name(i), Endpoints: []*endpointv3.LocalityLbEndpoints{group}}
}

func (f fleet) listener(i int) *listenerv3.Listener {
	filter := &tcpv3.TcpProxy{StatPrefix: "tcp", ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: f.name(i)}}
	return &listenerv3.Listener{
		Name: f.name(i), Address: address(f.service(i)), BindToPort: wrapperspb.Bool(false),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "tcp", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(filter)},
		}}}},
	}
}

func address(at netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: at.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

// pack wraps a message that was made here and cannot fail to encode.
func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}
