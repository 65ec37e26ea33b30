package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

const offloadedAddr = "10.99.0.1:80"

// plainTCP is a listener whose outcome is only TCP to a cluster.
func plainTCP(name, addr, cluster string) string {
	return harness.Listener{Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.TCP(cluster))}}.YAML()
}

// offloads starts a weir with the listener shop at offloadedAddr, for an application.
func offloads(t *testing.T, host *harness.Host, interception string, listeners, clusters []string) (harness.App, *harness.Weir) {
	t.Helper()
	harness.NeedInterception(t)
	group := harness.NewCgroup(t)
	weir := host.StartWeir(harness.WeirOptions{
		Config:  harness.Bootstrap{Listeners: listeners, Clusters: clusters}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: interception,
	})
	return host.App().In(group), weir
}

// stopped runs f while weir cannot do anything.
func stopped(weir *harness.Weir, f func()) {
	weir.Signal(syscall.SIGSTOP)
	defer weir.Signal(syscall.SIGCONT)
	f()
}

// TestOffloadPassesWeir proves that bytes do not go through weir: they flow while it is stopped.
func TestOffloadPassesWeir(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	app, weir := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "backend")}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
	const connections = 3
	stopped(weir, func() {
		for n := range connections {
			got := app.Connect(harness.Connect{To: offloadedAddr, Mapped: n == 1, NonBlocking: n == 2, Send: " there", HalfClose: true})
			peer := offloadedAddr
			if n == 1 {
				peer = "[::ffff:10.99.0.1]:80"
			}
			if want := (harness.Connected{Peer: peer, Received: "hello there", End: "eof", Pending: got.Pending}); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		}
	})
	if n := backend.Accepted(); n != connections {
		t.Errorf("the backend got %d connections, want %d", n, connections)
	}
	if page := weir.Page("/clusters"); !strings.Contains(page, fmt.Sprintf("backend::%s::cx_total::%d\n", backend.Addr, connections)) {
		t.Errorf("/clusters does not count the connections of the host:\n%s", page)
	}
	for name, want := range map[string]int{
		"cluster.backend.upstream_cx_total": connections, "cluster.backend.upstream_rq_total": connections,
		"cluster.backend.upstream_cx_active": 0, "cluster.backend.upstream_cx_connect_fail": 0,
		"cluster.backend.upstream_cx_tx_bytes_total": connections * len(" there"), "cluster.backend.upstream_cx_rx_bytes_total": connections * len("hello there"),
		"listener.10.99.0.1_80.downstream_cx_total": connections, "listener.10.99.0.1_80.downstream_cx_active": 0,
		"tcp.tcp.downstream_cx_total": connections, "tcp.tcp.downstream_cx_rx_bytes_total": connections * len(" there"),
		"tcp.tcp.downstream_cx_tx_bytes_total": connections * len("hello there"),
	} {
		weir.AwaitStat(name, func(n int) bool { return n == want })
	}
	if page := weir.Page("/weir/explain?format=text&dst=" + offloadedAddr); !strings.Contains(page, "past weir") || !strings.Contains(page, backend.Addr.String()) {
		t.Errorf("explain does not say it:\n%s", page)
	}
}

// TestOffloadCountsWhatIsOpen looks at the gauges while a connection is there.
func TestOffloadCountsWhatIsOpen(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	bound := harness.Listener{Name: "bound", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()
	app, weir := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "backend"), bound}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
	open := app.Start("python3", "-I", "-c", `
import socket, sys
s = socket.create_connection(("10.99.0.1", 80))
print(s.recv(5).decode(), flush=True)
s.recv(1)
`)
	harness.Eventually(t, "the connection", func() bool { return backend.Accepted() == 1 })
	// Nobody has asked for statistics so far. The endpoint has the connection, and user space none that its bound is about.
	if got := weir.Page("/weir/explain?dst=127.0.0.1:8080"); !strings.Contains(got, "1 active connection") || !strings.Contains(got, "connections 0 of 1024") ||
		!strings.Contains(strings.Join(strings.Fields(got), " "), "requests 0 of 1024, retries") {
		t.Errorf("explain says %s", got)
	}
	for _, name := range []string{"cluster.backend.upstream_cx_active", "cluster.backend.upstream_rq_active", "listener.10.99.0.1_80.downstream_cx_active"} {
		weir.AwaitStat(name, func(n int) bool { return n == 1 })
	}
	open.Signal(syscall.SIGKILL)
	for _, name := range []string{"cluster.backend.upstream_cx_active", "cluster.backend.upstream_rq_active", "listener.10.99.0.1_80.downstream_cx_active"} {
		weir.AwaitStat(name, func(n int) bool { return n == 0 })
	}
}

// TestOffloadSwitchedOff has connections go through user space: a stopped weir leaves them without an answer.
func TestOffloadSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, interception, reason string }{
		{"mode", `offload: {mode: "OFF"}`, "offload.mode is OFF"},
		{"listener", "offload: {exclude_listeners: [shop]}", "offload.exclude_listeners names it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
			app, weir := offloads(t, host, tc.interception, []string{plainTCP("shop", offloadedAddr, "backend")}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
			if got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}); got.Received != "hello" {
				t.Errorf("got %+v", got)
			}
			stopped(weir, func() {
				if got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}); got.End != "silent" || got.Received != "" {
					t.Errorf("a stopped weir served %+v", got)
				}
			})
			wantReason(t, weir, "shop", tc.reason)
		})
	}
}

// wantReason wants /weir/interception to say what keeps a listener in user space.
func wantReason(t *testing.T, weir *harness.Weir, listener, reason string) {
	t.Helper()
	var page struct {
		Listeners []struct {
			Listener, Outcome string
			Reasons           []string
		}
	}
	weir.JSON("/weir/interception", &page)
	for _, l := range page.Listeners {
		if l.Listener == listener {
			if l.Outcome != "user_space" || len(l.Reasons) != 1 || l.Reasons[0] != reason {
				t.Errorf("listener %s: %s for %q, want user_space for %q", listener, l.Outcome, l.Reasons, reason)
			}
			return
		}
	}
	t.Errorf("listener %s is not on the page", listener)
}

// TestOffloadSaysWhyNot has both kinds of listeners side by side.
func TestOffloadSaysWhyNot(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	idle := strings.Replace(harness.TCP("backend"), "cluster: backend", "cluster: backend, idle_timeout: 7s", 1)
	kept := harness.Listener{Name: "kept", Address: "10.99.0.2:80", Virtual: true, Chains: []string{harness.Chain(idle)}}.YAML()
	app, weir := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "backend"), kept}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
	const reason = "filter_chains[0].filters[0].idle_timeout needs user space"
	wantReason(t, weir, "kept", reason)
	if page := weir.Page("/weir/explain?format=text&dst=10.99.0.2:80"); !strings.Contains(page, reason) {
		t.Errorf("explain does not say why:\n%s", page)
	}
	for _, to := range []string{offloadedAddr, "10.99.0.2:80"} { // both ways add up in one number
		if got := app.Connect(harness.Connect{To: to, HalfClose: true}); got.Received != "hello" {
			t.Errorf("%s: %+v", to, got)
		}
	}
	weir.AwaitStat("cluster.backend.upstream_cx_total", func(n int) bool { return n == 2 })
}

// TestOffloadRefuses has connect() fail as it does without weir.
func TestOffloadRefuses(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	app, weir := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "closed"), plainTCP("empty", "10.99.0.2:80", "nobody")},
		[]string{harness.Cluster("closed", harness.To(host.RefusingAddr("127.0.0.1"))), harness.Cluster("nobody", nil)})
	for _, to := range []string{offloadedAddr, "10.99.0.2:80"} {
		for _, nonBlocking := range []bool{false, true} {
			if got := app.Connect(harness.Connect{To: to, NonBlocking: nonBlocking}); got.Failed != "ECONNREFUSED" {
				t.Errorf("%s, non-blocking %t: %+v", to, nonBlocking, got)
			}
		}
	}
	for name, want := range map[string]int{
		"cluster.closed.upstream_cx_connect_fail": 2, "cluster.closed.upstream_cx_total": 2, "cluster.closed.upstream_cx_active": 0,
		"cluster.nobody.upstream_cx_none_healthy": 2, "cluster.nobody.upstream_cx_total": 0, "listener.10.99.0.2_80.downstream_cx_total": 2,
	} {
		weir.AwaitStat(name, func(n int) bool { return n == want })
	}
}

// TestOffloadBalances goes round the endpoints, by weight.
func TestOffloadBalances(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	one, two := host.TCPBackend("127.0.0.1:0", harness.Greets("one")), host.TCPBackend("127.0.0.1:0", harness.Greets("two"))
	endpoint := func(a netip.AddrPort, weight int) string {
		return fmt.Sprintf("{load_balancing_weight: %d, endpoint: {address: %s}}", weight, harness.Address(a.String()))
	}
	cluster := fmt.Sprintf("{name: backend, type: STATIC, load_assignment: {cluster_name: backend, endpoints: [{lb_endpoints: [%s, %s]}]}}", endpoint(one.Addr, 3), endpoint(two.Addr, 1))
	app, _ := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "backend")}, []string{cluster})
	for range 8 {
		if got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}); got.End != "eof" {
			t.Errorf("got %+v", got)
		}
	}
	if one, two := one.Accepted(), two.Accepted(); one != 6 || two != 2 {
		t.Errorf("the backends got %d and %d connections, want 6 and 2", one, two)
	}
}

// TestOffloadHashes sends what comes from one place to one endpoint, as long as that is there.
func TestOffloadHashes(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	var addrs []netip.AddrPort
	for n := range 5 {
		addrs = append(addrs, host.TCPBackend("127.0.0.1:0", harness.Greets(fmt.Sprint(n))).Addr)
	}
	hashed := strings.Replace(plainTCP("shop", offloadedAddr, "backend"), "cluster: backend", "cluster: backend, hash_policy: [{source_ip: {}}]", 1)
	app, weir := offloads(t, host, "", []string{hashed}, []string{harness.Cluster("backend", addrs, "lb_policy: MAGLEV")})
	says := func() string { return app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}).Received }
	first := says()
	for range 4 {
		if got := says(); got != first || got == "" {
			t.Errorf("got %q after %q", got, first)
		}
	}
	if page := weir.Page("/weir/explain?format=text&dst=" + offloadedAddr); !strings.Contains(page, "past weir") {
		t.Errorf("it is not offloaded:\n%s", page)
	}
}

// TestOffloadObeysHealth goes by health checks at once.
func TestOffloadObeysHealth(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	one, two := host.TCPBackend("127.0.0.1:0", harness.Greets("one")), host.TCPBackend("127.0.0.1:0", harness.Greets("two"))
	cluster := harness.Cluster("backend", harness.To(one.Addr, two.Addr),
		"health_checks: [{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]",
		"common_lb_config: {healthy_panic_threshold: {value: 0}}")
	app, weir := offloads(t, host, "", []string{plainTCP("shop", offloadedAddr, "backend")}, []string{cluster})
	says := func() string { return app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}).Received }
	if a, b := says(), says(); a == b || a == "" || b == "" {
		t.Errorf("two connections got %q and %q", a, b)
	}
	one.Close()
	weir.AwaitStat("cluster.backend.membership_healthy", func(n int) bool { return n == 1 })
	for range 3 {
		if got := says(); got != "two" {
			t.Errorf("got %q of the backend that is left", got)
		}
	}
	two.Close()
	weir.AwaitStat("cluster.backend.membership_healthy", func(n int) bool { return n == 0 })
	if got := app.Connect(harness.Connect{To: offloadedAddr}); got.Failed != "ECONNREFUSED" {
		t.Errorf("nobody is healthy: %+v", got)
	}
	weir.AwaitStat("cluster.backend.upstream_cx_none_healthy", func(n int) bool { return n == 1 })
}

// TestOffloadFollowsControlPlane changes endpoints, the cluster and the listener. What was acknowledged is obeyed.
func TestOffloadFollowsControlPlane(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	one, two := host.TCPBackend("127.0.0.1:0", harness.Greets("one")), host.TCPBackend("127.0.0.1:0", harness.Greets("two"))
	control, group := host.ControlPlane(controlPlaneAddr), harness.NewCgroup(t)
	serve := func(listener string, types []string, addrs ...netip.AddrPort) {
		seen := len(control.Events())
		control.Set(harness.Resource(t, &listenerv3.Listener{}, listener),
			harness.Resource(t, &clusterv3.Cluster{}, `{name: backend, type: EDS, eds_cluster_config: {eds_config: {resource_api_version: V3, ads: {}}}}`),
			harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("backend", addrs...)))
		for _, kind := range types {
			harness.Eventually(t, "acknowledgement of "+kind, func() bool {
				return slices.ContainsFunc(control.Events()[seen:], func(e controlplane.Event) bool { return e.Kind == controlplane.Acknowledged && e.Type == kind })
			})
		}
	}
	endpoints := []string{"ClusterLoadAssignment"}
	shop := plainTCP("shop", offloadedAddr, "backend")
	control.Set(harness.Resource(t, &listenerv3.Listener{}, shop),
		harness.Resource(t, &clusterv3.Cluster{}, `{name: backend, type: EDS, eds_cluster_config: {eds_config: {resource_api_version: V3, ads: {}}}}`),
		harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("backend", one.Addr)))
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())}, More: harness.ADS("DELTA_GRPC"),
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	app := host.App().In(group)
	says := func(want string) {
		t.Helper()
		if got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}); got.Received != want {
			t.Errorf("got %+v, want %q", got, want)
		}
	}
	stopped(weir, func() { says("one") })
	serve(shop, endpoints, two.Addr)
	stopped(weir, func() { says("two") })
	serve(shop, endpoints, one.Addr)
	says("one")
	serve(shop, endpoints)
	if got := app.Connect(harness.Connect{To: offloadedAddr}); got.Failed != "ECONNREFUSED" {
		t.Errorf("without endpoints: %+v", got)
	}
	serve(strings.Replace(shop, "cluster: backend", "cluster: backend, idle_timeout: 5s", 1), []string{"ClusterLoadAssignment", "Listener"}, two.Addr)
	says("two")
	stopped(weir, func() {
		if got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true}); got.End != "silent" {
			t.Errorf("with an idle timeout, a stopped weir served %+v", got)
		}
	})
}

// connectsUntil makes connections until there is a file, and prints those that failed. It makes another file once a hundred did not.
const connectsUntil = `
import os, socket, sys
served = 0
while not os.path.exists(sys.argv[1]):
    try:
        with socket.create_connection(("10.99.0.1", 80), 5) as s:
            if s.recv(5) != b"hello":
                print("closed without an answer")
            served += 1
            if served == 100:
                open(sys.argv[2], "w").close()
    except OSError as e:
        print(e)
print("served", served >= 100)
`

// TestOffloadWhileEverythingChanges has endpoints, the cluster and the listener change under an application that connects all the
// time: no connection fails, whether the kernel or user space takes it.
func TestOffloadWhileEverythingChanges(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	one, two := host.TCPBackend("127.0.0.1:0", harness.Greets("hello")), host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	control, group := host.ControlPlane(controlPlaneAddr), harness.NewCgroup(t)
	serve := func(n int) {
		shop, policy := plainTCP("shop", offloadedAddr, "backend"), [...]string{"ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "MAGLEV"}[n/3%4]
		if n%5 == 4 {
			shop = strings.Replace(shop, "cluster: backend", "cluster: backend, idle_timeout: 5s", 1)
		}
		control.Set(harness.Resource(t, &listenerv3.Listener{}, shop),
			harness.Resource(t, &clusterv3.Cluster{}, fmt.Sprintf(`{name: backend, type: EDS, lb_policy: %s, eds_cluster_config: {eds_config: {resource_api_version: V3, ads: {}}}}`, policy)),
			harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("backend", [][]netip.AddrPort{{one.Addr}, {two.Addr}, {one.Addr, two.Addr}}[n%3]...)))
	}
	serve(0)
	host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())}, More: harness.ADS("DELTA_GRPC"),
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	dir := harness.Dir(t)
	end, hundred := filepath.Join(dir, "end"), filepath.Join(dir, "hundred")
	app := host.App().In(group).Start("python3", "-I", "-c", connectsUntil, end, hundred)
	n := 0
	change := func() {
		n++
		seen := len(control.Events())
		serve(n)
		harness.Eventually(t, "an acknowledgement", func() bool {
			return slices.ContainsFunc(control.Events()[seen:], func(e controlplane.Event) bool {
				return e.Kind == controlplane.Acknowledged && e.Type == "ClusterLoadAssignment"
			})
		})
	}
	for range 59 {
		change()
	}
	harness.Eventually(t, "a hundred connections while all of it changes", func() bool {
		change()
		_, err := os.Stat(hundred)
		return err == nil
	})
	harness.WriteFile(t, end, "")
	wantOK(t, app.Wait(), "served True")
}

// TestOffloadPassesThrough does not capture what would only be passed on.
func TestOffloadPassesThrough(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t).AddAddress("10.98.0.1")
	backend := host.TCPBackend("10.98.0.1:0", harness.Greets("hello"))
	endless := "circuit_breakers: {thresholds: [{max_connections: 4294967295, max_pending_requests: 4294967295, max_requests: 4294967295, max_retries: 4294967295}]}"
	passthrough := strings.TrimSuffix(harness.OriginalDstCluster("passthrough"), "}") + ", " + endless + "}"
	outbound := harness.Listener{Name: "outbound", Address: "127.0.0.1:15001", OriginalDst: true, Chains: []string{harness.Chain(harness.TCP("passthrough"))}}.YAML()
	app, weir := offloads(t, host, "", []string{outbound}, []string{passthrough})
	stopped(weir, func() {
		got := app.Connect(harness.Connect{To: backend.Addr.String(), Send: " there", HalfClose: true})
		if want := (harness.Connected{Peer: backend.Addr.String(), Received: "hello there", End: "eof"}); got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	})
	if page := weir.Page("/weir/interception?format=text"); !strings.Contains(page, "outcome: passed") {
		t.Errorf("the page does not say it:\n%s", page)
	}
}
