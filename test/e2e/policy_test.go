package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

// networkRBAC is a filter with these fields.
func networkRBAC(prefix string, fields ...string) string {
	return `{name: rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: ` +
		strings.Join(append([]string{prefix}, fields...), ", ") + "}}"
}

func connectionLimit(limit int, fields ...string) string {
	return fmt.Sprintf(`{name: limit, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, %s}}`,
		strings.Join(append([]string{fmt.Sprintf("stat_prefix: limit, max_connections: %d", limit)}, fields...), ", "))
}

// policyOf is a policy of permissions for everybody.
func policyOf(permissions string) string {
	return "{permissions: [" + permissions + "], principals: [{any: true}]}"
}

// TestNetworkRBACFilter has a filter judge connections by where they come from, and its verdict in the access log of the TCP proxy.
func TestNetworkRBACFilter(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t).AddAddress("10.1.0.1", "10.2.0.1")
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	tcp := `{name: tcp, typed_config: {"@type": ` + tcpType + `, stat_prefix: tcp, cluster: backend, access_log: [{name: log, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source: {inline_string:
		"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %CONNECTION_TERMINATION_DETAILS% %DYNAMIC_METADATA(envoy.filters.network.rbac:shadow_engine_result)%\n"}}}}]}}`
	office := `{permissions: [{destination_port: 8080}], principals: [{direct_remote_ip: {address_prefix: 10.1.0.0, prefix_len: 16}}]}`
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "l", Address: "0.0.0.0:8080", Chains: []string{harness.Chain(
			networkRBAC("guard.", "rules: {action: DENY, policies: {the office: "+office+"}}", "shadow_rules: {policies: {"+`"any": `+policyOf("{any: true}")+"}}") + ", " + tcp,
		)}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	for addr, want := range map[string]string{"10.1.0.1:8080": "", "10.2.0.1:8080": "hello"} {
		if got, err := greets(t, host, addr); err != nil || got != want { // who dials an own address comes from it
			t.Errorf("%s: %q, %v", addr, got, err)
		}
	}
	for name, want := range map[string]int{
		"guard.rbac.allowed": 1, "guard.rbac.denied": 1, "guard.rbac.shadow_allowed": 2, "guard.rbac.shadow_denied": 0, "tcp.tcp.downstream_cx_total": 2,
	} {
		weir.AwaitStat(name, func(n int) bool { return n == want })
	}
	for _, line := range []string{"10.1.0.1 rbac_access_denied_matched_policy[the_office] allowed\n", "10.2.0.1 - allowed\n"} {
		harness.EventuallyNil(t, "the access log", func() error {
			if log := weir.Stdout(); !strings.Contains(log, line) {
				return fmt.Errorf("%q is not in %q", line, log)
			}
			return nil
		})
	}
	if page := weir.Page("/weir/explain?format=text&assume_captured&dst=10.1.0.1:8080&src=10.1.0.1"); !strings.Contains(page, "denies it") {
		t.Errorf("explain does not say that it is denied:\n%s", page)
	}
	if n := backend.Accepted(); n != 1 {
		t.Errorf("the backend got %d connections", n)
	}
}

// TestNetworkFiltersBeforeHTTP has the filters decide in front of a connection manager.
func TestNetworkFiltersBeforeHTTP(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "l", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(
			connectionLimit(1) + ", " + networkRBAC("guard", "rules: {policies: {all: "+policyOf("{any: true}")+"}}") + ", " + harness.HTTP(harness.RouteTo("/", "backend")),
		)}}.YAML()},
		Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
	}.YAML()})
	first := host.MustDial("127.0.0.1:8080")
	for range 2 { // idle in between, so that the connection rests
		if _, err := io.WriteString(first, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		if n, err := first.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		weir.AwaitStat("connection_limit.limit.active_connections", func(n int) bool { return n == 1 })
	}
	if got, err := greets(t, host, "127.0.0.1:8080"); got != "" || err != nil {
		t.Errorf("a second connection: %q, %v", got, err)
	}
	weir.AwaitStat("connection_limit.limit.limited_connections", func(n int) bool { return n == 1 })
	_ = first.Close()
	weir.AwaitStat("connection_limit.limit.active_connections", func(n int) bool { return n == 0 })
	if got := host.App().Curl("-s", "http://127.0.0.1:8080/"); got.Status != 0 {
		t.Errorf("after it has ended: %+v", got)
	}
	for name, want := range map[string]int{"guard.rbac.allowed": 2, "http.ingress.downstream_cx_total": 3, "http.ingress.downstream_cx_destroy_local": 1} {
		weir.AwaitStat(name, func(n int) bool { return n == want })
	}
}

// guarded is a listener at many addresses whose connections are judged by where they go.
func guarded(filters string) string {
	l := harness.Listener{
		Name: "shop", Address: "10.99.0.1:80", Virtual: true, Chains: []string{harness.Chain(filters + ", " + harness.TCP("backend"))},
		More: "additional_addresses: [",
	}
	for _, addr := range []string{"10.99.0.1:81", "10.99.1.1:80", "10.99.1.2:80", "[fd99::1]:80", "[fd99::1]:8080"} {
		l.More += "{address: " + harness.Address(addr) + "}, "
	}
	l.More += "]"
	return l.YAML()
}

// TestPolicyOffloadAgrees makes the same connections with the same rules evaluated in the kernel and in user space, and wants the
// same outcome and the same statistics. What differs is documented: in the kernel connect() fails, in user space the connection
// is closed at once.
func TestPolicyOffloadAgrees(t *testing.T) {
	t.Parallel()
	rules := networkRBAC("tcp.",
		`rules: {policies: {web: `+policyOf(`{and_rules: {rules: [{destination_port: 80}, {not_rule: {destination_ip: {address_prefix: 10.99.1.0, prefix_len: 24}}}]}}`)+
			`, one: `+policyOf(`{destination_ip: {address_prefix: 10.99.1.2, prefix_len: 32}}`)+`}}`,
		`shadow_rules_stat_prefix: dry`, `shadow_rules: {action: DENY, policies: {range: `+policyOf(`{destination_port_range: {start: 81, end: 9000}}`)+`}}`) + ", " +
		networkRBAC("second", `rules: {action: DENY, policies: {six: `+policyOf(`{destination_ip: {address_prefix: "fd99::", prefix_len: 16}}`)+`}}`) + ", " +
		networkRBAC("third", `rules: {action: LOG, policies: {one: `+policyOf(`{destination_ip: {address_prefix: 10.99.1.2, prefix_len: 32}}`)+`}}`)
	allowed := map[string]bool{
		"10.99.0.1:80": true, "10.99.0.1:81": false, "10.99.1.1:80": false, "10.99.1.2:80": true, "[fd99::1]:80": false, "[fd99::1]:8080": false,
	}
	stats := map[string]int{
		"tcp.rbac.allowed": 4, "tcp.rbac.denied": 4, "tcp.rbac.dry.shadow_allowed": 6, "tcp.rbac.dry.shadow_denied": 2,
		"second.rbac.allowed": 3, "second.rbac.denied": 1, "third.rbac.allowed": 3, "third.rbac.logged": 1, "third.rbac.not_logged": 2,
		"tcp.tcp.downstream_cx_total": 8, "listener.10.99.0.1_80.downstream_cx_total": 8, "listener.10.99.0.1_80.downstream_cx_active": 0,
		"cluster.backend.upstream_cx_total": 3,
	}
	for mode, interception := range map[string]string{"kernel": "", "user space": `offload: {mode: "OFF"}`} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
			app, weir := offloads(t, host, interception, []string{guarded(rules)}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
			refused := "ECONNREFUSED"
			check := func(c harness.Connect, want bool) {
				t.Helper()
				c.HalfClose = true
				got := app.Connect(c)
				if (got.Received == "hello") != want {
					t.Errorf("%+v: %+v, want allowed: %t", c, got, want)
				}
				if !want && (got.Failed == refused) != (mode == "kernel") {
					t.Errorf("%+v: %+v", c, got)
				}
			}
			all := func() {
				for addr, want := range allowed {
					check(harness.Connect{To: addr}, want)
				}
				check(harness.Connect{To: "10.99.0.1:80", Mapped: true}, true)
				check(harness.Connect{To: "10.99.1.1:80", Mapped: true}, false)
			}
			if mode == "kernel" {
				stopped(weir, all)
				if page := weir.Page("/weir/explain?format=text&dst=10.99.1.1:80"); !strings.Contains(page, "tcp.rbac.denied: no policy matches") {
					t.Errorf("explain does not say who denies it:\n%s", page)
				}
			} else {
				all()
			}
			for name, want := range stats {
				weir.AwaitStat(name, func(n int) bool { return n == want })
			}
		})
	}
}

// TestConnectionLimitOffloadAgrees holds connections up to the limit of a filter, in the kernel and in user space.
func TestConnectionLimitOffloadAgrees(t *testing.T) {
	t.Parallel()
	for mode, interception := range map[string]string{"kernel": "", "user space": `offload: {mode: "OFF"}`} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
			app, weir := offloads(t, host, interception, []string{guarded(connectionLimit(2))}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
			open := app.Start("python3", "-I", "-c", `
import signal, socket
held, lost = [], 0
for i in range(5):
    try:
        s = socket.create_connection(("10.99.0.1", 80))
        if s.recv(5) == b"hello":
            held.append(s)
        else:
            lost += 1
    except ConnectionError:
        lost += 1
print(len(held), lost, flush=True)
signal.pause()
`)
			weir.AwaitStat("connection_limit.limit.limited_connections", func(n int) bool { return n == 3 })
			weir.AwaitStat("connection_limit.limit.active_connections", func(n int) bool { return n == 2 })
			open.Signal(syscall.SIGKILL)
			weir.AwaitStat("connection_limit.limit.active_connections", func(n int) bool { return n == 0 })
			if got := app.Connect(harness.Connect{To: "10.99.1.1:80", HalfClose: true}); got.Received != "hello" {
				t.Errorf("no room although all have ended: %+v", got)
			}
			if n := weir.Stat("cluster.backend.upstream_cx_overflow"); n != 0 {
				t.Errorf("upstream_cx_overflow is %d", n)
			}
		})
	}
}

// TestPolicyKeepsConnectionsInUserSpace names what the kernel cannot decide.
func TestPolicyKeepsConnectionsInUserSpace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ filter, why string }{
		"the source": {
			networkRBAC("tcp", `rules: {policies: {p: {permissions: [{any: true}], principals: [{source_ip: {address_prefix: 0.0.0.0, prefix_len: 0}}]}}}`),
			"rbac rules about the source",
		},
		"a delay": {connectionLimit(5, "delay: 1s"), "delay needs user space"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
			app, weir := offloads(t, host, "", []string{guarded(tc.filter)}, []string{harness.Cluster("backend", harness.To(backend.Addr))})
			if got := app.Connect(harness.Connect{To: "10.99.0.1:80", HalfClose: true}); got.Received != "hello" {
				t.Errorf("got %+v", got)
			}
			if page := weir.Page("/weir/interception"); !strings.Contains(page, tc.why) {
				t.Errorf("the page does not say %q:\n%s", tc.why, page)
			}
		})
	}
}

// TestNetworkRBACByDiscovery has ECDS deliver a filter that is not the last of its chain, and change it.
func TestNetworkRBACByDiscovery(t *testing.T) {
	t.Parallel()
	const rbacType = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	listener := harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "l", Address: "127.0.0.1:8080", Chains: []string{
		harness.Chain(byDiscovery("guard", "ads: {}", rbacType) + ", " + harness.TCP("backend")),
	}}.YAML())
	rules := func(action string) proto.Message {
		return typedConfig(t, "guard", `{"@type": `+rbacType+`, stat_prefix: guard, rules: {action: `+action+`, policies: {all: `+policyOf("{any: true}")+`}}}`)
	}
	control.Set(listener, rules("ALLOW"))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{
			harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2()), harness.Cluster("backend", harness.To(backend.Addr)),
		},
		More: harness.ADS("GRPC"),
	}.YAML()})
	eventuallyGreets(t, host, "127.0.0.1:8080", "hello")
	control.Set(listener, rules("DENY"))
	eventuallyGreets(t, host, "127.0.0.1:8080", "")
	control.Set(listener, rules("ALLOW"))
	eventuallyGreets(t, host, "127.0.0.1:8080", "hello")
	if n := weir.Stat("listener.127.0.0.1_8080.network_extension_config_missing"); n != 0 {
		t.Errorf("network_extension_config_missing is %d", n)
	}
}

// TestPolicyOffloadFollowsControlPlane changes the rules of a listener. What was acknowledged is obeyed by the kernel, also while
// weir cannot do anything.
func TestPolicyOffloadFollowsControlPlane(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	control, group := host.ControlPlane(controlPlaneAddr), harness.NewCgroup(t)
	serve := func(filters ...string) {
		control.Set(harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
			Name: "shop", Address: offloadedAddr, Virtual: true, Chains: []string{harness.Chain(strings.Join(append(filters, harness.TCP("backend")), ", "))},
		}.YAML()))
	}
	rules := func(action, principal string) string {
		return networkRBAC("guard", `rules: {action: `+action+`, policies: {p: {permissions: [{destination_port: 80}], principals: [`+principal+`]}}}`)
	}
	serve()
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Clusters: []string{
				harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2()), harness.Cluster("backend", harness.To(backend.Addr)),
			},
			More: harness.ADS("DELTA_GRPC"),
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	app := host.App().In(group)
	for _, step := range []struct {
		name    string
		filters []string
		allowed bool
		kernel  bool
	}{
		{"denied", []string{rules("DENY", "{any: true}")}, false, true},
		{"allowed", []string{rules("ALLOW", "{any: true}")}, true, true},
		{"by source, in user space", []string{rules("DENY", "{direct_remote_ip: {address_prefix: 0.0.0.0, prefix_len: 0}}")}, false, false},
		{"denied again", []string{connectionLimit(5), rules("DENY", "{any: true}")}, false, true},
		{"without rules", nil, true, true},
	} {
		seen := len(control.Events())
		serve(step.filters...)
		harness.Eventually(t, "acknowledgement: "+step.name, func() bool {
			return slices.ContainsFunc(control.Events()[seen:], func(e controlplane.Event) bool { return e.Kind == controlplane.Acknowledged && e.Type == "Listener" })
		})
		check := func() {
			got := app.Connect(harness.Connect{To: offloadedAddr, HalfClose: true})
			if (got.Received == "hello") != step.allowed || step.kernel && !step.allowed && got.Failed != "ECONNREFUSED" {
				t.Errorf("%s: %+v", step.name, got)
			}
		}
		if step.kernel {
			stopped(weir, check)
		} else {
			check()
		}
		if len(step.filters) > 0 {
			weir.AwaitStat(map[bool]string{true: "guard.rbac.allowed", false: "guard.rbac.denied"}[step.allowed], func(n int) bool { return n > 0 })
		}
	}
}
