package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// istioReady is what Istio's agent asks for before it calls a pod ready, and istioUpdates how it learns that configuration came.
const (
	istioReady   = `^(server\.state|listener_manager\.workers_started)`
	istioUpdates = `^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$`
)

func usedOnly(filter string) string { return "/stats?usedonly&filter=" + url.QueryEscape(filter) }

// startLate is a mesh whose control plane is not there yet.
func startLate(t *testing.T) *meshed {
	t.Helper()
	host := harness.NewHost(t)
	m := &meshed{host: host, ca: harness.NewCA(t), one: host.HTTPBackend("one", "127.0.0.1:0"), two: host.HTTPBackend("two", "127.0.0.1:0")}
	m.control = host.ControlPlane(controlPlaneAddr)
	m.control.Stop()
	m.mesh = mesh{t: t, one: harness.To(m.one.Addr), two: harness.To(m.two.Addr), weights: [2]int{100, 0}, certificate: m.ca.Issue("shop.test")}
	m.weir = host.StartWeir(harness.WeirOptions{NotReady: true, Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:     strings.ReplaceAll(harness.ADS("GRPC"), "ads: {}", "initial_fetch_timeout: 0s, ads: {}"),
	}.YAML()})
	return m
}

// TestWhatIstiosAgentSees replays its probe from the start to the end.
func TestWhatIstiosAgentSees(t *testing.T) {
	t.Parallel()
	m := startLate(t)
	harness.Eventually(t, "the admin interface answers", func() bool {
		code, body := tryGet(m, "/ready")
		return code == http.StatusServiceUnavailable && body == "PRE_INITIALIZING\n"
	})
	if got, want := m.weir.Page(usedOnly(istioReady)), "server.state: 2\n"; !strings.Contains(got, want) || strings.Contains(got, "workers_started: 1") {
		t.Errorf("before the control plane: %q, want %q alone", got, want)
	}
	if got := m.weir.Page(usedOnly(istioUpdates)); got != "" {
		t.Errorf("before the control plane: %q", got)
	}
	// With clusters but without listeners the process initializes.
	m.control.Set(m.resources()[:4]...)
	m.control.Start()
	m.weir.AwaitStat("cluster_manager.cds.update_success", func(n int) bool { return n > 0 })
	m.control.Set(m.resources()...)
	harness.Eventually(t, "live", m.weir.Ready)
	if got, want := m.weir.Page(usedOnly(istioReady)), "listener_manager.workers_started: 1\nserver.state: 0\n"; got != want {
		t.Errorf("live: %q, want %q", got, want)
	}
	updates := m.weir.Page(usedOnly(istioUpdates))
	if !regexp.MustCompile(`^cluster_manager\.cds\.update_success: [1-9]\d*\nlistener_manager\.lds\.update_success: [1-9]\d*\n$`).MatchString(updates) {
		t.Errorf("live: %q", updates)
	}
	if got := m.weir.Page("/ready"); got != "LIVE\n" {
		t.Errorf("/ready: %q", got)
	}
	wantContains(t, "/stats/prometheus", m.weir.Page("/stats/prometheus"), "envoy_server_live{} 1\n", "envoy_listener_manager_lds_update_success{} ", "# TYPE envoy_server_state gauge\n")
	// The end of a pod: connections are drained, then the process goes.
	for _, path := range []string{"/drain_listeners?inboundonly&graceful", "/drain_listeners?graceful", "/quitquitquit"} {
		if status, body := m.weir.Post(path); status != http.StatusOK || body != "OK\n" {
			t.Errorf("POST %s: %d %q", path, status, body)
		}
	}
	if status := m.weir.Wait(); status != 0 {
		t.Errorf("status %d after /quitquitquit", status)
	}
}

// tryGet asks without failing the test when nobody answers.
func tryGet(m *meshed, path string) (int, string) {
	client := m.host.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + harness.AdminAddr + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// TestWhatAGatewaysShutdownManagerSees replays what Envoy Gateway's does in a preStop hook: fail health checks, drain without
// closing the listeners, and wait until nobody is connected.
func TestWhatAGatewaysShutdownManagerSees(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("one", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")))}}.YAML()},
		Clusters:  []string{harness.Cluster("one", harness.To(backend.Addr))},
	}.YAML(), Flags: []string{"--drain-strategy", "immediate"}})
	connections := func() int {
		var answer struct {
			Stats []struct {
				Name  string `json:"name"`
				Value int    `json:"value"`
			} `json:"stats"`
		}
		weir.JSON(`/stats?filter=^server\.total_connections$&format=json`, &answer)
		if len(answer.Stats) != 1 || answer.Stats[0].Name != "server.total_connections" {
			t.Fatalf("total connections: %+v", answer)
		}
		return answer.Stats[0].Value
	}
	idle := host.MustDial("127.0.0.1:8080")
	if _, err := fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the connection is counted", func() bool { return connections() == 1 })
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners?graceful&skip_exit"} {
		if status, body := weir.Post(path); status != http.StatusOK || body != "OK\n" {
			t.Errorf("POST %s: %d %q", path, status, body)
		}
	}
	if status, body := weir.Get("/ready"); status != http.StatusServiceUnavailable || body != "DRAINING\n" {
		t.Errorf("/ready: %d %q", status, body)
	}
	if got := weir.Stat("server.state"); got != 1 {
		t.Errorf("server.state = %d", got)
	}
	harness.Eventually(t, "nobody is connected", func() bool { return connections() == 0 })
	// The listener still serves whoever comes, and says goodbye at once.
	got := host.App().Curl("-i", plainURL)
	wantContains(t, "the answer while draining", strings.ToLower(got.Out), "200 ok", "connection: close")
}

// TestWhatContoursShutdownManagerSees speaks to a unix socket with a mode.
func TestWhatContoursShutdownManagerSees(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("one", "127.0.0.1:0")
	socket := filepath.Join(harness.Dir(t), "admin.sock")
	host.StartWeir(harness.WeirOptions{Bare: true, Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "ingress_http", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")))}}.YAML()},
		Clusters:  []string{harness.Cluster("one", harness.To(backend.Addr))},
		More:      fmt.Sprintf("admin: {access_log: [{name: envoy.access_loggers.file, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null}}], address: {pipe: {path: %s, mode: 420}}}", socket),
	}.YAML()})
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	wantOK(t, host.App().Curl(plainURL), "one")
	resp, err := client.Post("http://unix/healthcheck/fail", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("healthcheck/fail: %d", resp.StatusCode)
	}
	resp, err = client.Get("http://unix/stats/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	wantContains(t, "prometheus", string(text), `envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="ingress"} 0`, "# TYPE envoy_http_downstream_cx_active gauge\n", "envoy_server_state{} 1\n")
}

// TestWhatDataplaneAgentsSee replays kuma-dp and consul-dataplane: the version, readiness, a drain of inbound listeners, the end.
func TestWhatDataplaneAgentsSee(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("one", "127.0.0.1:0")
	listener := func(name, addr, direction string) string {
		return harness.Listener{Name: name, Address: addr, Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")))}, More: "traffic_direction: " + direction}.YAML()
	}
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{listener("in", "127.0.0.1:8080", "INBOUND"), listener("out", "127.0.0.1:8081", "OUTBOUND")},
		Clusters:  []string{harness.Cluster("one", harness.To(backend.Addr))},
		More:      "node: {id: dp, cluster: shop}",
	}.YAML(), Flags: []string{"--drain-time-s", "1", "--drain-strategy", "immediate"}})
	var info struct {
		Version string `json:"version"`
		State   string `json:"state"`
		Node    struct {
			ID string `json:"id"`
		} `json:"node"`
		Options struct {
			DrainStrategy string `json:"drain_strategy"`
			DrainTime     string `json:"drain_time"`
		} `json:"command_line_options"`
	}
	weir.JSON("/server_info", &info)
	if strings.Count(info.Version, "/") != 4 || info.State != "LIVE" || info.Node.ID != "dp" || info.Options.DrainStrategy != "Immediate" || info.Options.DrainTime != "1s" {
		t.Errorf("/server_info: %+v", info)
	}
	if status, body := weir.Post("/drain_listeners?inboundonly&graceful"); status != http.StatusOK || body != "OK\n" {
		t.Errorf("drain: %d %q", status, body)
	}
	if got := weir.Page("/ready"); got != "LIVE\n" {
		t.Errorf("/ready while draining: %q", got)
	}
	harness.Eventually(t, "the inbound listener stops", func() bool { return host.App().Curl("http://127.0.0.1:8080/").Status != 0 })
	wantOK(t, host.App().Curl("http://127.0.0.1:8081/"), "one")
	if status, _ := weir.Post("/quitquitquit"); status != http.StatusOK || weir.Wait() != 0 {
		t.Errorf("quit: %d", status)
	}
}

// TestEveryJSONPageIsJSON asks for what dashboards parse.
func TestEveryJSONPageIsJSON(t *testing.T) {
	t.Parallel()
	weir := harness.NewHost(t).StartWeir(harness.WeirOptions{Config: "node: {id: a, cluster: b}"})
	for _, path := range []string{
		"/config_dump", "/config_dump?include_eds", "/clusters?format=json", "/listeners?format=json", "/certs", "/server_info", "/memory", "/runtime",
		"/init_dump", "/stats?format=json", "/weir/interception", "/weir/findings",
	} {
		if body := weir.Page(path); !json.Valid([]byte(body)) {
			t.Errorf("%s: %s", path, body)
		}
	}
}
