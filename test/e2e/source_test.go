package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// sourceLog says whom a connection came from.
const sourceLog = `access_log: [{name: log, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source: {
	inline_string: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT% to %DOWNSTREAM_LOCAL_ADDRESS%\n"}}}}]`

// sourceHTTP is a connection manager that takes the connection for the client's, and tells of it.
func sourceHTTP(cluster string) string {
	return `{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: ingress,
		use_remote_address: true, route_config: ` + harness.RouteConfig("local", harness.RouteTo("/", cluster)) + `,
		http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}], ` + sourceLog + `}}`
}

// sourceAt is a listener for captured connections that are served by a connection manager.
func sourceAt(name, addr string) string {
	return harness.Listener{Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(sourceHTTP("web"))}}.YAML()
}

// sourceChains is a listener whose chains tell clients apart.
func sourceChains(addr string) string {
	match := func(match, cluster string) string {
		return harness.Chain(harness.TCP(cluster), "filter_chain_match: {"+match+"}")
	}
	return harness.Listener{Name: "chains", Address: addr, Virtual: true, Chains: []string{
		match("source_prefix_ranges: [{address_prefix: 192.0.2.0, prefix_len: 24}]", "network"),
		match("source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]", "loopback"),
	}}.YAML()
}

// sourceTypes is a listener whose chains tell clients of this host from others.
func sourceTypes(addr string) string {
	match := func(match, cluster string) string {
		return harness.Chain(harness.TCP(cluster), "filter_chain_match: {"+match+"}")
	}
	return harness.Listener{Name: "types", Address: addr, Virtual: true, Chains: []string{
		match("source_type: EXTERNAL", "network"), match("source_type: SAME_IP_OR_LOOPBACK", "loopback"),
	}}.YAML()
}

// sourceGuard is a listener that serves the clients of a network alone.
func sourceGuard(addr, network string) string {
	p := netip.MustParsePrefix(network)
	return harness.Listener{Name: "guard", Address: addr, Virtual: true, Chains: []string{harness.Chain(
		fmt.Sprintf(`{name: rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC, stat_prefix: guard., rules: {action: ALLOW, policies: {
			one: {permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: %s, prefix_len: %d}}]}}}}}, `, p.Addr(), p.Bits()) + harness.TCP("network"))}}.YAML()
}

// sourceHost is a host at 192.0.2.1 and 2001:db8::1 with routes to 10.99.0.0/16 and fd00:99::/64.
func sourceHost(t *testing.T) *harness.Host {
	t.Helper()
	host, far := harness.NewHost(t), harness.NewHost(t)
	harness.Link(host, far, "192.0.2.0/30")
	host.AddRoute("10.99.0.0/16", "192.0.2.2")
	wantOK(t, host.App().Run("sh", "-ec", `set -- $(ip -o addr show to 192.0.2.1); ip addr add 2001:db8::1/126 nodad dev "$2"`), "")
	host.AddRoute("fd00:99::/64", "2001:db8::2")
	return host
}

// logged waits for the lines of weir's log on stdout, whose ports of clients are replaced by a letter.
func logged(t *testing.T, weir *harness.Weir, want ...string) {
	t.Helper()
	harness.EventuallyNil(t, "the access log", func() error {
		var got []string
		for line := range strings.Lines(weir.Stdout()) {
			fields := strings.Fields(line)
			if len(fields) == 5 && fields[2] != "0" {
				fields[2] = "P"
			}
			got = append(got, strings.Join(fields, " "))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("logged %q, want %q", got, want)
		}
		return nil
	})
}

// TestCapturedSource looks whom weir takes captured clients for: who they would be without it.
func TestCapturedSource(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := sourceHost(t), harness.NewCgroup(t)
	web := host.HTTPBackend("web", "127.0.0.1:0")
	network, loopback := host.TCPBackend("127.0.0.1:0", harness.Greets("network")), host.TCPBackend("127.0.0.1:0", harness.Greets("loopback"))
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{
				sourceAt("four", "10.99.0.1:80"), sourceAt("six", "[fd00:99::1]:80"), sourceAt("nowhere", "10.98.0.1:80"), sourceAt("nowhere6", "[fd00:98::1]:80"),
				sourceAt("loopback", "127.0.0.2:80"), sourceAt("own", "192.0.2.1:80"),
				sourceChains("10.99.0.2:80"), sourceTypes("10.99.0.3:80"), sourceGuard("10.99.0.4:80", "192.0.2.1/32"),
			},
			Clusters: []string{harness.Cluster("web", harness.To(web.Addr)), harness.Cluster("network", harness.To(network.Addr)), harness.Cluster("loopback", harness.To(loopback.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: userSpace,
	})
	app := host.App().In(group)
	var want []string
	for _, tc := range []struct{ name, to, client string }{
		{"route", "10.99.0.1:80", "192.0.2.1"},
		{"IPv6 route", "[fd00:99::1]:80", "2001:db8::1"},
		{"no route", "10.98.0.1:80", "127.0.0.1"},
		{"no IPv6 route", "[fd00:98::1]:80", "::1"},
		{"loopback", "127.0.0.2:80", "127.0.0.1"},
		{"own address", "192.0.2.1:80", "192.0.2.1"},
		{"route again", "10.99.0.1:80", "192.0.2.1"},
	} {
		wantOK(t, app.Curl("http://"+tc.to+"/"), "web")
		forwarded := tc.client
		if netip.MustParseAddr(forwarded).IsLoopback() { // for which the address of the host stands, as in Envoy
			forwarded = "192.0.2.1"
		}
		if got := web.Last(t).Header.Get("x-forwarded-for"); got != forwarded {
			t.Errorf("%s: x-forwarded-for %q, want %q", tc.name, got, forwarded)
		}
		want = append(want, tc.client+" "+tc.client+" P to "+tc.to)
		logged(t, weir, want...)
	}
	wantOK(t, app.Curl("--interface", "127.0.0.3", "http://10.99.0.1/"), "web") // which has an address of its own
	logged(t, weir, append(want, "127.0.0.3 127.0.0.3 P to 10.99.0.1:80")...)
	for _, to := range []string{"10.99.0.2:80", "10.99.0.3:80", "10.99.0.4:80"} {
		if got := app.Connect(harness.Connect{To: to, HalfClose: true}); got.Received != "network" {
			t.Errorf("%s: %+v", to, got)
		}
	}
	for _, query := range []string{"10.99.0.2:80", "10.99.0.3:80", "10.99.0.4:80"} {
		wantContains(t, "explain", weir.Page("/weir/explain?format=text&dst="+query), "192.0.2.1, which the kernel would choose", "cluster network")
	}

	// The address changes, which is noticed within a second.
	wantOK(t, host.App().Run("ip", "route", "change", "10.99.0.0/16", "via", "192.0.2.2", "src", "127.0.0.1"), "")
	for to, received := range map[string]string{"10.99.0.2:80": "loopback", "10.99.0.3:80": "loopback", "10.99.0.4:80": ""} {
		harness.EventuallyNil(t, "the other address", func() error {
			if got := app.Connect(harness.Connect{To: to, HalfClose: true}); got.Received != received {
				return fmt.Errorf("%s: %+v", to, got)
			}
			return nil
		})
	}
	if n := weir.Stat("guard.rbac.denied"); n != 1 {
		t.Errorf("%d connections were denied", n)
	}
}

// TestCapturedSourceOfPods looks whom weir takes the clients in two pods for.
func TestCapturedSourceOfPods(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t).AddAddress("10.60.0.1")
	web := node.HTTPBackend("web", "10.60.0.1:8080")
	pods := harness.NewCgroup(t)
	weir := node.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{sourceAt("four", "10.99.0.1:80"), sourceAt("nowhere", "10.98.0.1:80")}, Clusters: []string{harness.Cluster("web", harness.To(web.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{pods}, Interception: userSpace,
	})
	one, two := newPod(t, node, pods, "one", "192.0.2.0/30"), newPod(t, node, pods, "two", "192.0.2.4/30")
	served(t, weir, one, two)
	var want []string
	for _, p := range []*pod{one, two, one} {
		if len(want) < 2 {
			p.AddRoute("10.99.0.0/16", p.addr.Prev().String())
		}
		wantOK(t, p.app.Curl("http://10.99.0.1/"), "web")
		if got := web.Last(t).Header.Get("x-forwarded-for"); got != p.addr.String() {
			t.Errorf("x-forwarded-for %q, want %q", got, p.addr)
		}
		want = append(want, p.addr.String()+" "+p.addr.String()+" P to 10.99.0.1:80")
		wantContains(t, "explain", weir.Page(fmt.Sprintf("/weir/explain?format=text&dst=10.99.0.1:80&pid=%d", p.pause.Pid())), p.addr.String()+", which the kernel would choose")
		wantContains(t, "explain", weir.Page(fmt.Sprintf("/weir/explain?format=text&dst=10.98.0.1:80&pid=%d", p.pause.Pid())), "cluster web")
	}
	wantOK(t, one.app.Curl("http://10.98.0.1/"), "web")
	logged(t, weir, append(want, "127.0.0.1 127.0.0.1 P to 10.98.0.1:80")...)
}

// TestCapturedSourceOfDatagrams looks whom weir takes the senders of captured datagrams for, which still get their answers.
func TestCapturedSourceOfDatagrams(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := sourceHost(t), harness.NewCgroup(t)
	fields := "cluster: backend, idle_timeout: 1s, " + sourceLog
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{udpListener("v4", "0.0.0.0:53", true, fields), udpListener("v6", "[::]:53", true, fields)},
			Clusters:  []string{harness.Cluster("backend", harness.To(udpBackend(t, host, "got ")))},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	var want []string
	for _, tc := range []struct{ to, client string }{{"10.99.0.1", "192.0.2.1"}, {"fd00:99::1", "2001:db8::1"}, {"10.98.0.1", "127.0.0.1"}} {
		got := host.App().In(group).Python(udpClient, tc.to, "53")
		if want := fmt.Sprintf("got c %s\ngot u %s 53", tc.to, tc.to); strings.TrimSpace(got.Out) != want {
			t.Errorf("%s: got %+v\nwant %q\n%s", tc.to, got, want, weir.Log())
		}
		line := tc.client + " " + tc.client + " P to " + netip.AddrPortFrom(netip.MustParseAddr(tc.to), 53).String()
		want = append(want, line, line)
		logged(t, weir, want...)
	}
}

// TestCapturedSourceIsKept has the upstream see the client of a captured connection, which is an address of the host that it runs on.
func TestCapturedSourceIsKept(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	near, far, group := harness.NewHost(t).AddAddress("10.60.0.1"), harness.NewHost(t), harness.NewCgroup(t)
	harness.Link(near, far, "192.0.2.0/30")
	near.AddRoute("10.99.0.0/16", "192.0.2.2")
	far.AddRoute("10.60.0.0/16", "192.0.2.1")
	wantOK(t, near.App().Run("ip", "route", "change", "10.99.0.0/16", "via", "192.0.2.2", "src", "10.60.0.1"), "")
	backend := far.HTTPBackend("far", "192.0.2.2:8080")
	near.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{
				Name: "kept", Address: "10.99.0.1:80", Virtual: true, More: strings.TrimPrefix(keepSource, ", "), Chains: []string{harness.Chain(harness.TCP("backend"))},
			}.YAML()},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: userSpace,
	})
	wantOK(t, near.App().In(group).Curl("http://10.99.0.1/"), "far")
	if from := netip.MustParseAddrPort(backend.Last(t).RemoteAddr); from.Addr().String() != "10.60.0.1" {
		t.Errorf("the backend sees %s", from)
	}
}
