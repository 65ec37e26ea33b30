package controlplane

import (
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// statusText is a config in a form that is easy to compare.
func statusText(c *statusv3.ClientConfig) (out []string) {
	for _, g := range c.GetGenericXdsConfigs() {
		text := shortType(g.GetTypeUrl()) + " " + g.GetName() + " " + g.GetConfigStatus().String() + " " + g.GetClientStatus().String()
		if g.GetXdsConfig() != nil {
			text += " with content"
		}
		if d := g.GetErrorState().GetDetails(); d != "" {
			text += " because " + d
		}
		out = append(out, text)
	}
	return out
}

func TestClientStatus(t *testing.T) {
	secret := &tlsv3.Secret{Name: "s"}
	_, addr := newTestServer(t, cluster("a"), endpoints("a"), endpoints("b"), secret)
	c := newDeltaClient(t, addr, &corev3.Node{Id: "n1", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"zone": structpb.NewStringValue("x")}}})
	c.subscribe(resource.ClusterType, "*")
	c.receive()
	c.subscribe(resource.EndpointType, "a", "none")
	r, err := c.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResponseNonce: r.GetNonce(), ErrorDetail: &statuspb.Status{Message: "no good"}})
	c.subscribe(resource.SecretType, "s")
	if _, err := c.stream.Recv(); err != nil { // and no ACK
		t.Fatal(err)
	}
	other := newDeltaClient(t, addr, &corev3.Node{Id: "n2"})
	other.subscribe(resource.ClusterType, "*")
	other.receive()
	other.silent(resource.ClusterType) // the ACK before has come

	csds := statusv3.NewClientStatusDiscoveryServiceClient(dial(t, addr))
	stream, err := csds.StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *statusv3.ClientStatusRequest) []*statusv3.ClientConfig {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetConfig()
	}
	if got := ask(&statusv3.ClientStatusRequest{}); len(got) != 2 || got[0].GetNode().GetId() != "n1" || got[1].GetNode().GetId() != "n2" {
		t.Fatalf("clients = %v", got)
	}
	zone := &matcherv3.NodeMatcher{NodeMetadatas: []*matcherv3.StructMatcher{{
		Path:  []*matcherv3.StructMatcher_PathSegment{{Segment: &matcherv3.StructMatcher_PathSegment_Key{Key: "zone"}}},
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "x"}}}},
	}}}
	got := ask(&statusv3.ClientStatusRequest{NodeMatchers: []*matcherv3.NodeMatcher{zone}})
	if len(got) != 1 {
		t.Fatalf("matched = %v", got)
	}
	want := []string{
		"Cluster a SYNCED ACKED with content",
		"ClusterLoadAssignment a ERROR NACKED with content because no good",
		"ClusterLoadAssignment none NOT_SENT DOES_NOT_EXIST",
		"Secret s STALE REQUESTED",
	}
	if diff := cmp.Diff(want, statusText(got[0])); diff != "" {
		t.Error(diff)
	}
	// The matchers of the request before still hold.
	got = ask(&statusv3.ClientStatusRequest{ExcludeResourceContents: true})
	if text := strings.Join(statusText(got[0]), "\n"); len(got) != 1 || strings.Contains(text, "content") {
		t.Errorf("without contents: %s", text)
	}

	resp, err := http.Post("http://"+addr+clientStatusPath, "application/json", strings.NewReader(`{"node_matchers": [{"node_id": {"safe_regex": {"regex": "n[2-9]"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() // it is read below
	if body := bodyOf(t, resp); !strings.Contains(body, `"n2"`) || strings.Contains(body, `"n1"`) || !strings.Contains(body, "SYNCED") {
		t.Errorf("over HTTP: %s", body)
	}
}
