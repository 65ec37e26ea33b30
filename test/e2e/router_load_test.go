package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/harness"
)

// Retries, hedges and copies under way at once must not mix up what belongs to whom: each response is the echo of its own
// request, and in the end nothing is left.
func TestRouterKeepsRequestsApart(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	moody := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		switch rand.IntN(4) {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 1:
			select {
			case <-time.After(time.Duration(rand.IntN(200)) * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("X-Id", r.Header.Get("X-Id"))
		_, _ = w.Write(body)
	}
	paths := []string{"/hedged", "/retried", "/two"}
	var options []harness.HTTPOption
	for _, p := range paths {
		options = append(options, harness.WithHandler(p, moody))
	}
	backend := host.HTTPBackend("backend", "127.0.0.1:0", append(options, harness.WithHTTP2())...)
	shadow := host.HTTPBackend("shadow", "127.0.0.1:0", append(options, harness.WithHTTP2())...)
	const many = "circuit_breakers: {thresholds: [{max_retries: 1000}]}"
	const policies = "request_mirror_policies: [{cluster: shadow}], retry_policy: {retry_on: '5xx,reset', num_retries: 30, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.001s}}"
	r := startRig(t, host, rigConfig{
		routes: []string{
			"{match: {prefix: /hedged}, route: {cluster: backend, timeout: 30s, hedge_policy: {hedge_on_per_try_timeout: true}, " + policies + "}}",
			"{match: {prefix: /retried}, route: {cluster: backend, timeout: 30s, " + policies + "}}",
			"{match: {prefix: /two}, route: {cluster: two, timeout: 30s, hedge_policy: {hedge_on_per_try_timeout: true}, " + policies + "}}",
		},
		clusters: []string{
			harness.Cluster("backend", harness.To(backend.Addr), many), harness.Cluster("two", harness.To(backend.Addr), many, harness.HTTP2()),
			harness.Cluster("shadow", harness.To(shadow.Addr), many),
		},
	})
	var all sync.WaitGroup
	for worker := range 12 {
		all.Go(func() {
			for n := range 25 {
				id := fmt.Sprintf("%d-%d", worker, n)
				body := bytes.Repeat([]byte(id+" "), rand.IntN(4000))
				resp, got, err := r.try("POST", paths[(worker+n)%len(paths)], bytes.NewReader(body), "x-id: "+id)
				if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Id") != id || got != string(body) {
					t.Errorf("%s: %v, %d bytes of %d, %v", id, resp, len(got), len(body), err)
					return
				}
			}
		})
	}
	all.Wait()
	r.stats(map[string]int{
		"cluster.backend.upstream_rq_active": 0, "cluster.two.upstream_rq_active": 0, "cluster.shadow.upstream_rq_active": 0,
		"http.ingress.downstream_rq_active": 0, "cluster.shadow.upstream_rq_completed": 300, "http.ingress.downstream_rq_2xx": 300,
	})
	if strings.Contains(r.weir.Log(), "panic") {
		t.Error("a panic is logged")
	}
}
