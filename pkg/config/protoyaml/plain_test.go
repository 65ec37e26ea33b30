package protoyaml

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func assignment(metadata *corev3.Metadata, weight *wrapperspb.UInt32Value) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: "c", Endpoints: []*endpointv3.LocalityLbEndpoints{
		{},
		{LbEndpoints: []*endpointv3.LbEndpoint{{Metadata: metadata, LoadBalancingWeight: weight}}},
	}}
}

// TestPlain: what is called plain is what the full walk finds nothing in.
func TestPlain(t *testing.T) {
	unknown := wrapperspb.UInt32(3)
	unknown.ProtoReflect().SetUnknown([]byte{0x78, 1})
	deep := structpb.NewNullValue()
	for range 2 * maxDepth {
		deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
	}
	for _, tt := range []struct {
		name string
		m    proto.Message
		want bool
	}{
		{"empty", &clusterv3.Cluster{}, true},
		{"endpoints", assignment(nil, wrapperspb.UInt32(3)), true},
		{"metadata", assignment(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"a": {}}}, nil), true},
		{"deep value", assignment(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"a": {Fields: map[string]*structpb.Value{"b": deep}}}}, nil), true},
		{"any in a map", assignment(&corev3.Metadata{TypedFilterMetadata: map[string]*anypb.Any{"a": {TypeUrl: "type.googleapis.com/no.such"}}}, nil), false},
		{"unknown field", assignment(nil, unknown), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := plain(tt.m.ProtoReflect()); got != tt.want {
				t.Errorf("plain is %v", got)
			}
			d := newDecoder("", 0, true, Options{})
			validator{d}.message(tt.m.ProtoReflect(), &frame{index: noIndex, md: tt.m.ProtoReflect().Descriptor()})
			if found := d.result() != nil; found == tt.want {
				t.Errorf("the walk finds %v", d.result())
			}
		})
	}
}
