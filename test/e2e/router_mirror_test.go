package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

func TestRouterMirrors(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	shadow := host.HTTPBackend("shadow", "127.0.0.1:0")
	other := host.HTTPBackend("other", "127.0.0.1:0", harness.WithHandler("/other", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(500)
	}))
	r := startRig(t, host, rigConfig{
		host: "request_mirror_policies: [{cluster_header: x-shadow, disable_shadow_host_suffix_append: true}], ",
		routes: []string{
			"{match: {prefix: /own}, route: {cluster: backend, prefix_rewrite: /in, request_mirror_policies: [{cluster: shadow}]}, " +
				"request_headers_to_add: [{header: {key: x-added, value: one}}]}",
			"{match: {prefix: /never}, route: {cluster: backend, request_mirror_policies: [{cluster: shadow, runtime_fraction: {default_value: {numerator: 0}}}]}}",
			"{match: {prefix: /runtime}, route: {cluster: backend, request_mirror_policies: [{cluster: shadow, runtime_fraction: {default_value: {numerator: 0}, runtime_key: mirror.all}}]}}",
			harness.RouteTo("/", "backend"),
		},
		clusters: []string{
			harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("shadow", harness.To(shadow.Addr)),
			harness.Cluster("other", harness.To(other.Addr)),
		},
		more: "layered_runtime: {layers: [{name: s, static_layer: {mirror: {all: 100}}}]}",
	})
	large := strings.Repeat("0123456789abcdef", 4096)
	r.want(200, "backend")(r.send("POST", "/own/path?q=1", large, "host: shop.test:8080"))
	harness.Eventually(t, "the mirrored request", func() bool { return shadow.Count() == 1 })
	got := shadow.Last(t)
	if got.Host != "shop.test-shadow:8080" || got.Body != large || got.RequestURI != "/in/path?q=1" || got.Header.Get("X-Added") != "one" || got.Method != "POST" {
		t.Errorf("mirrored: %s %s, host %s, %d bytes, x-added %q", got.Method, got.RequestURI, got.Host, len(got.Body), got.Header.Get("X-Added"))
	}
	if got.Header.Get("X-Envoy-Internal") != "true" || strings.Count(got.Header.Get("X-Forwarded-For"), ",") != 1 {
		t.Errorf("a copy claims to be internal %q, for %q", got.Header.Get("X-Envoy-Internal"), got.Header.Get("X-Forwarded-For"))
	}
	if main := backend.Last(t); main.Host != "shop.test:8080" || main.Body != large {
		t.Errorf("the request itself: host %s, %d bytes", main.Host, len(main.Body))
	}
	r.want(200, "backend")(r.get("/other", "x-shadow: other"))
	harness.Eventually(t, "the copy for the cluster of the header", func() bool { return other.Count() == 1 })
	if got := other.Last(t); got.Host != "127.0.0.1:8080" {
		t.Errorf("host %q of a copy that was to keep it", got.Host)
	}
	r.want(200, "backend")(r.get("/other", "x-shadow: unknown"))
	r.want(200, "backend")(r.get("/never"))
	r.want(200, "backend")(r.get("/runtime"))
	harness.Eventually(t, "the copy that the runtime wants", func() bool { return shadow.Count() == 2 })
	r.stats(map[string]int{
		"cluster.shadow.upstream_rq_200": 2, "cluster.other.upstream_rq_500": 1, "cluster.shadow.upstream_rq_active": 0,
		"cluster.backend.upstream_rq_200": 5, "http.ingress.downstream_rq_2xx": 5,
	})
}

// Whatever the shadow does, the request goes its way: a body that it does not take is only held up to the buffer limit.
func TestRouterMirrorsNeverWait(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n, err)
	}))
	stuck := host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		_ = c.SetReadBuffer(4096)
		buf := make([]byte, 1)
		_, _ = io.ReadFull(c, buf)
		<-t.Context().Done() // reads no further
	})
	r := startRig(t, host, rigConfig{
		routes: []string{
			"{match: {prefix: /}, route: {cluster: backend, request_mirror_policies: [{cluster: stuck}, {cluster: refusing}, {cluster: empty}]}}",
		},
		clusters: []string{
			harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("stuck", harness.To(stuck.Addr)),
			harness.Cluster("refusing", harness.To(host.RefusingAddr("127.0.0.1"))), harness.Cluster("empty", nil),
		},
	})
	body := bytes.Repeat([]byte("x"), 16<<20)
	start := time.Now()
	resp, got, err := r.try("POST", "/", bytes.NewReader(body))
	if err != nil || resp.StatusCode != 200 || strings.TrimSpace(got) != "16777216 <nil>" {
		t.Fatalf("%v, %q, %v", resp, got, err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	r.weir.AwaitStat("cluster.backend.retry_or_shadow_abandoned", func(n int) bool { return n >= 1 })
	r.stats(map[string]int{
		"cluster.refusing.upstream_cx_connect_fail": 1,
		"cluster.empty.upstream_cx_none_healthy":    1, "cluster.stuck.upstream_rq_active": 0,
	})
}
