package controlplane

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPolling(t *testing.T) {
	s := New(Options{Log: slog.New(slog.DiscardHandler)})
	addr := serveOn(t, s)
	post := func(path, body string) (int, string) {
		t.Helper()
		r, err := http.Post("http://"+addr+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close() // it is read
		return r.StatusCode, bodyOf(t, r)
	}
	const clusters = "/v3/discovery:clusters"
	if code, body := post(clusters, `{}`); code != http.StatusServiceUnavailable {
		t.Errorf("before the first set: %d %s", code, body)
	}
	replace(t, s, cluster("a"), cluster("b"), route("r"))
	code, body := post(clusters, `{"node": {"id": "p1", "unknown_field": 1}}`)
	var first discoveryv3.DiscoveryResponse
	if err := protojson.Unmarshal([]byte(body), &first); code != http.StatusOK || err != nil || len(first.GetResources()) != 2 {
		t.Fatalf("first poll: %d %s %v", code, body, err)
	}
	again := func(more string) string {
		return fmt.Sprintf(`{"node": {"id": "p1"}, "version_info": %q%s}`, first.GetVersionInfo(), more)
	}
	if code, body := post(clusters, again("")); code != http.StatusNotModified || body != "" {
		t.Errorf("nothing new: %d %s", code, body)
	}
	if code, body := post(clusters, again(`, "resource_names": ["a"]`)); code != http.StatusOK || strings.Contains(body, `"b"`) {
		t.Errorf("other names: %d %s", code, body)
	}
	replace(t, s, cluster("a"), cluster("c"))
	if code, body := post(clusters, again("")); code != http.StatusOK || !strings.Contains(body, `"c"`) {
		t.Errorf("a change: %d %s", code, body)
	}
	if code, _ := post(clusters, again(`, "error_detail": {"message": "bad"}`)); code != http.StatusOK {
		t.Errorf("a rejection: %d", code)
	}
	if c := s.Clients(); len(c) == 0 || c[0].Node == "" && len(c) < 2 {
		t.Errorf("clients = %+v", c)
	} else if last := c[len(c)-1]; last.Node != "p1" || last.Streams[0].Service != "REST" || last.Streams[0].Types[0].Error != "bad" {
		t.Errorf("client = %+v", last)
	}
	for path, want := range map[string]int{"/v3/discovery:nothing": 404, "/": 404} {
		if code, _ := post(path, `{}`); code != want {
			t.Errorf("POST %s: %d, want %d", path, code, want)
		}
	}
	if code, body := post(clusters, `{"node": 1}`); code != http.StatusBadRequest || !strings.Contains(body, "DiscoveryRequest") {
		t.Errorf("a body that is no request: %d %s", code, body)
	}

	fetch := clusterservice.NewClusterDiscoveryServiceClient(dial(t, addr))
	answer, err := fetch.FetchClusters(t.Context(), &discoveryv3.DiscoveryRequest{})
	if err != nil || len(answer.GetResources()) != 2 {
		t.Fatalf("over gRPC: %v, %v", answer, err)
	}
	if _, err = fetch.FetchClusters(t.Context(), &discoveryv3.DiscoveryRequest{VersionInfo: answer.GetVersionInfo()}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("nothing new over gRPC: %v", err)
	}
}
