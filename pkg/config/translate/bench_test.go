package translate

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// BenchmarkLoadAssignment translates 1,000 endpoints, the resource that changes most often.
func BenchmarkLoadAssignment(b *testing.B) {
	m := &endpointv3.ClusterLoadAssignment{ClusterName: "c", Endpoints: []*endpointv3.LocalityLbEndpoints{{}}}
	for i := range 1000 {
		address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: fmt.Sprintf("10.0.%d.%d", i/256, i%256), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80},
		}}}
		m.Endpoints[0].LbEndpoints = append(m.Endpoints[0].LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		})
	}
	tr := testTranslator(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := tr.LoadAssignment(m, Meta{}); err != nil {
			b.Fatal(err)
		}
	}
}
