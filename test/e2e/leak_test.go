package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// After load of every kind the process has as many descriptors and goroutines as before.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	quiet, _ := leakBench(t)
	before := quiet.Goroutines()
	weir, load := leakBench(t)
	load() // connections to backends and buffers come into being once
	settle(t, weir)
	files := weir.Files()
	for range 3 {
		load()
	}
	settle(t, weir)
	harness.EventuallyNil(t, "the same descriptors as before", func() error {
		if now := weir.Files(); len(now) > len(files) {
			return fmt.Errorf("%d descriptors were %d:\n%s\nnow\n%s", len(now), len(files), strings.Join(files, " "), strings.Join(now, " "))
		}
		return nil
	})
	// Both are idle: what one has more, its load has left.
	if after := weir.Goroutines(); after > before+2 {
		t.Errorf("%d goroutines after load, %d without any\n%s", after, before, weir.Log())
	}
}

// settle waits until no connection is left on either side.
func settle(t *testing.T, weir *harness.Weir) {
	t.Helper()
	for _, name := range []string{"http.ingress.downstream_cx_active", "listener.127.0.0.1_8081.downstream_cx_active", "listener.127.0.0.1_8080.downstream_cx_active", "cluster.backend.upstream_cx_active", "cluster.echo.upstream_cx_active"} {
		weir.AwaitStat(name, func(n int) bool { return n == 0 })
	}
}

// leakBench is a weir with an HTTP and a TCP listener, bound and captured, and a load on it.
func leakBench(t *testing.T) (*harness.Weir, func()) {
	t.Helper()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	echo := host.TCPBackend("127.0.0.1:0", harness.Echo)
	group := harness.NewCgroup(t)
	idle := harness.UpstreamHTTP("common_http_protocol_options: {idle_timeout: 0.2s}, explicit_http_config: {http_protocol_options: {}}")
	web, tcp := []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "backend")))}, []string{harness.Chain(harness.TCP("echo"))}
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: web}.YAML(),
				harness.Listener{Name: "tcp", Address: "127.0.0.1:8081", Chains: tcp}.YAML(),
				harness.Listener{Name: "captured", Address: "10.99.0.1:80", Virtual: true, Chains: tcp}.YAML(),
			},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr), idle), harness.Cluster("echo", harness.To(echo.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	app := host.App().In(group)
	return weir, func() {
		client := host.Client()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for _, path := range slices.Repeat([]string{"/", "/cut"}, 10) {
					if resp, err := client.Get("http://127.0.0.1:8080" + path); err == nil {
						resp.Body.Close()
					}
					if conn, err := host.Dial(t.Context(), "tcp", "127.0.0.1:8081"); err == nil {
						fmt.Fprint(conn, "x")
						conn.Close() // with the answer under way
					}
				}
			})
		}
		all.Wait()
		client.CloseIdleConnections()
		if got := app.Connect(harness.Connect{To: "10.99.0.1:80", Send: "x", HalfClose: true}); got.Received != "x" {
			t.Errorf("captured: %+v", got)
		}
	}
}
