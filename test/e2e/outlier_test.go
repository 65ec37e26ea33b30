package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// unsteady answers with a status that may be changed.
type unsteady struct {
	*harness.HTTPBackend
	status atomic.Int32
}

func startUnsteady(host *harness.Host, name string) *unsteady {
	u := &unsteady{}
	u.status.Store(http.StatusOK)
	u.HTTPBackend = host.HTTPBackend(name, "127.0.0.1:0", harness.WithHandler("/work", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(u.status.Load()))
		fmt.Fprintln(w, name)
	}))
	return u
}

// A host that answers badly gets no more requests until its time is over, and the admin interface, the statistics and the event log
// say so.
func TestOutlierDetection(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a, b := startUnsteady(host, "a"), startUnsteady(host, "b")
	events := filepath.Join(harness.Dir(t), "outliers.json")
	r := startRig(t, host, rigConfig{
		more:   "cluster_manager: {outlier_detection: {event_log_path: " + events + "}}",
		routes: []string{harness.RouteTo("/", "shop")},
		clusters: []string{harness.Cluster("shop", harness.To(a.Addr, b.Addr),
			"outlier_detection: {consecutive_5xx: 3, interval: 0.1s, base_ejection_time: 0.5s, max_ejection_percent: 50}")},
	})
	b.status.Store(500)
	failed := 0
	for range 20 {
		if resp, _ := r.get("/work"); resp.StatusCode == http.StatusInternalServerError {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%d requests failed, want 3 before the host is out", failed)
	}
	r.weir.AwaitStat("cluster.shop.outlier_detection.ejections_active", func(n int) bool { return n == 1 })
	r.stats(map[string]int{
		"cluster.shop.outlier_detection.ejections_enforced_consecutive_5xx": 1, "cluster.shop.outlier_detection.ejections_enforced_total": 1,
		"cluster.shop.membership_healthy": 1, "cluster.shop.membership_total": 2,
	})
	text := r.weir.Page("/clusters")
	for _, line := range []string{
		"shop::" + b.Addr.String() + "::health_flags::/failed_outlier_check\n", "shop::" + a.Addr.String() + "::health_flags::healthy\n",
		"shop::outlier::success_rate_average::-1\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("/clusters does not say %q:\n%s", line, text)
		}
	}
	b.status.Store(200)
	r.weir.AwaitStat("cluster.shop.outlier_detection.ejections_active", func(n int) bool { return n == 0 })
	harness.Eventually(t, "the host serves again", func() bool {
		_, text := r.get("/work")
		return text == "b\n"
	})
	wantOutlierEvents(t, events, b.Addr.String())
}

// Who answers in time does well, however long the body takes; who does not has one bad answer for each attempt, also when a race of
// attempts runs out of time.
func TestOutlierDetectionTimeouts(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	slow := host.HTTPBackend("slow", "127.0.0.1:0", harness.WithHandler("/body", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}), harness.WithHandler("/never", silent), harness.WithHandler("/hedged", silent))
	route := func(path, more string) string {
		return "{ match: { prefix: " + path + " }, route: { cluster: shop, timeout: 2s, " + more + " } }"
	}
	r := startRig(t, host, rigConfig{
		routes: []string{
			route("/body", ""),
			route("/hedged", "hedge_policy: { hedge_on_per_try_timeout: true }, retry_policy: { retry_on: 5xx, num_retries: 1, per_try_timeout: 0.5s }"),
			route("/never", ""),
		},
		clusters: []string{harness.Cluster("shop", harness.To(slow.Addr), "outlier_detection: {consecutive_5xx: 1, enforcing_consecutive_5xx: 0}")},
	})
	const detected = "cluster.shop.outlier_detection.ejections_detected_consecutive_5xx"
	for _, c := range []struct {
		path string
		bad  int // so far
	}{{"/body", 0}, {"/never", 1}, {"/hedged", 3}} {
		if resp, _, err := r.try("GET", c.path, http.NoBody); err == nil && resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("%s: status %d", c.path, resp.StatusCode)
		}
		r.weir.AwaitStat("cluster.shop.upstream_rq_active", func(n int) bool { return n == 0 })
		r.stats(map[string]int{detected: c.bad})
	}
}

// wantOutlierEvents checks that a host was ejected once, and let back.
func wantOutlierEvents(t *testing.T, path, host string) {
	t.Helper()
	var lines []string
	harness.Eventually(t, "the event log has both lines", func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines = strings.Split(strings.TrimSpace(string(text)), "\n")
		return len(lines) == 2
	})
	for i, action := range []string{"EJECT", "UNEJECT"} {
		var e struct {
			Type        string  `json:"type"`
			ClusterName string  `json:"cluster_name"`
			UpstreamURL string  `json:"upstream_url"`
			Action      string  `json:"action"`
			Ejections   int     `json:"num_ejections"`
			Enforced    bool    `json:"enforced"`
			Since       *string `json:"secs_since_last_action"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &e); err != nil {
			t.Fatalf("%v: %s", err, lines[i])
		}
		if e.Type != "CONSECUTIVE_5XX" || e.ClusterName != "shop" || e.UpstreamURL != host || e.Action != action || e.Ejections != 1 ||
			e.Enforced != (i == 0) || (e.Since == nil) != (i == 0) {
			t.Errorf("line %d of the event log is %s", i, lines[i])
		}
	}
}

// A TCP proxy whose connections fail ejects the host, too.
func TestOutlierDetectionTCP(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a := startUnsteady(host, "a")
	gone := netip.MustParseAddrPort("127.0.0.1:9") // nobody listens there
	w := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.TCP("shop"))}}.YAML()},
		Clusters: []string{harness.Cluster("shop", harness.To(a.Addr, gone),
			"outlier_detection: {consecutive_5xx: 2, interval: 0.1s, base_ejection_time: 100s, max_ejection_percent: 50}")},
	}.YAML()})
	failed := 0
	for range 12 {
		client := host.Client()
		if resp, err := client.Get("http://127.0.0.1:8080/work"); err != nil {
			failed++
		} else {
			_ = resp.Body.Close()
		}
		client.CloseIdleConnections() // each request on a connection of its own
	}
	if failed != 2 {
		t.Errorf("%d connections failed, want 2 before the host is out", failed)
	}
	w.AwaitStat("cluster.shop.outlier_detection.ejections_enforced_consecutive_5xx", func(n int) bool { return n == 1 })
}

// An endpoint that refuses connections which the kernel answers by itself is ejected as well.
func TestOutlierDetectionOffloaded(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	gone := netip.MustParseAddrPort("127.0.0.1:9")
	app, weir := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "backend")}, []string{harness.Cluster("backend", harness.To(backend.Addr, gone),
		"outlier_detection: {consecutive_5xx: 2, interval: 0.1s, base_ejection_time: 100s, max_ejection_percent: 50}")})
	for range 6 {
		app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true})
	}
	weir.AwaitStat("cluster.backend.outlier_detection.ejections_active", func(n int) bool { return n == 1 })
	harness.Eventually(t, "the kernel knows", func() bool { return app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}).Failed == "" })
	stopped(weir, func() {
		for range 6 {
			if got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}); got.Received != "hello" {
				t.Errorf("got %+v after the other endpoint was ejected", got)
			}
		}
	})
}
