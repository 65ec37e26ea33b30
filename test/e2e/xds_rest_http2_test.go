package e2e

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/test/harness"
)

// TestRESTOverHTTP2 polls a control plane that speaks nothing but HTTP/2 without TLS, as a cluster with
// http2_protocol_options reaches it.
func TestRESTOverHTTP2(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	var asked atomic.Pointer[discoveryv3.DiscoveryRequest]
	var answer atomic.Value
	name := func(cluster string) string {
		return `{"version_info": "` + cluster + `", "resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "` + cluster +
			`", "type": "STATIC", "load_assignment": {"cluster_name": "` + cluster + `"}}]}`
	}
	answer.Store(name("first"))
	h := http.NewServeMux()
	h.HandleFunc("POST /v3/discovery:clusters", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		q := new(discoveryv3.DiscoveryRequest)
		if err == nil {
			err = protojson.Unmarshal(body, q)
		}
		if err != nil || r.ProtoMajor != 2 || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s request %s: %v", r.Proto, body, err)
		}
		asked.Store(q)
		_, _ = io.WriteString(w, answer.Load().(string)) // weir went away
	})
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	l := host.Listen(controlTarget)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close() // Serve tells
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlTarget)), harness.HTTP2())},
		More:     "node: {id: e2e, cluster: test}\ndynamic_resources: {cds_config: " + apiConfig("REST", "cluster_names: [xds], refresh_delay: 0.05s") + "}",
	}.YAML()})
	for _, want := range []string{"first", "second"} {
		answer.Store(name(want))
		harness.Eventually(t, "cluster "+want, func() bool {
			return strings.Contains(weir.Page("/clusters"), want+"::") && asked.Load().GetVersionInfo() == want
		})
	}
	if n := asked.Load().GetNode(); n.GetId() != "e2e" || n.GetCluster() != "test" {
		t.Errorf("node = %v", n)
	}
	// Those are many polls on one connection.
	if n := weir.Stat("cluster.xds.upstream_cx_total"); n != 1 {
		t.Errorf("%d connections", n)
	}
	if n := weir.Stat("cluster_manager.cds.update_failure"); n != 0 {
		t.Errorf("%d failures", n)
	}
}
