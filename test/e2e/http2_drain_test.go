package e2e

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/test/harness"
)

// A weir that is stopped says GOAWAY, lets what is under way finish, on old connections only, and ends.
func TestHTTP2Drain(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	release := make(chan struct{})
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHTTP2(), harness.WithHandler("/wait", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	}))
	weir := startUpstream(t, host, backend.Addr, "explicit_http_config: {http2_protocol_options: {}}")
	busy, idle := dial2(t, host, "127.0.0.1:8080"), dial2(t, host, "127.0.0.1:8080")
	if err := busy.get(1, "/wait"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the request arrives", func() bool { return backend.Count() == 1 })
	weir.Signal(syscall.SIGTERM)
	if code := idle.ended(t); code == nil || *code != http2.ErrCodeNo {
		t.Errorf("the idle connection ended with %v", code)
	}
	for busy.goAway == nil {
		if _, err := busy.next(); err != nil {
			t.Fatalf("before GOAWAY: %v", err)
		}
	}
	close(release)
	if r := busy.mustReply(t, 1); r.status() != "200" || string(r.body) != "done" {
		t.Errorf("the request under way got %+v", r)
	}
	if code := busy.ended(t); code == nil || *code != http2.ErrCodeNo {
		t.Errorf("the busy connection ended with %v", code)
	}
	if status := weir.Wait(); status != 0 {
		t.Errorf("weir ended with %d", status)
	}
}

// A host that goes away in order loses no request: those that it has are answered, the next go to a new connection.
func TestHTTP2HostGoesAway(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := startHost2(host, &host2{answer: func(w *wire2, stream uint32, _ map[string]string) error {
		if err := w.WriteGoAway(stream, http2.ErrCodeNo, nil); err != nil {
			return err
		}
		if err := w.headers(stream, false, ":status", "200"); err != nil {
			return err
		}
		return w.WriteData(stream, true, []byte("last"))
	}})
	weir := startUpstream(t, host, backend.Addr, "explicit_http_config: {http2_protocol_options: {}}")
	for range 3 {
		wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "last")
	}
	if n := backend.Accepted(); n != 3 {
		t.Errorf("%d connections for 3 requests", n)
	}
	weir.AwaitStat("cluster.backend.upstream_cx_active", func(n int) bool { return n == 0 })
}
