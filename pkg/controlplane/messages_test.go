package controlplane

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

type message = proto.Message

func protos(m ...message) []message { return m }

func cluster(name string) message   { return &clusterv3.Cluster{Name: name} }
func endpoints(name string) message { return &endpointv3.ClusterLoadAssignment{ClusterName: name} }
func route(name string) message     { return &routev3.RouteConfiguration{Name: name} }

func listener(name string) message {
	return &listenerv3.Listener{Name: name, Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1},
	}}}}
}

// nameIn reads the name of a resource.
func nameIn(body *anypb.Any) string {
	m, err := body.UnmarshalNew()
	if err != nil {
		return "?"
	}
	return cache.GetResourceName(m)
}
