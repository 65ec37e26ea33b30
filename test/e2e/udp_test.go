package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/test/harness"
)

// udpBackend answers each datagram with a text in front, until the test ends.
func udpBackend(t *testing.T, host *harness.Host, text string) netip.AddrPort {
	t.Helper()
	return udpBackendAt(t, host, "127.0.0.1:0", text)
}

func udpBackendAt(t *testing.T, host *harness.Host, addr, text string) netip.AddrPort {
	t.Helper()
	return serveUDP(t, host, addr, func(c *net.UDPConn, question []byte, from netip.AddrPort) {
		_, _ = c.WriteToUDPAddrPort(append([]byte(text), question...), from)
	})
}

// serveUDP gives every datagram that comes to addr within the host to answer, which may keep none of its memory.
func serveUDP(t *testing.T, host *harness.Host, addr string, answer func(c *net.UDPConn, question []byte, from netip.AddrPort)) netip.AddrPort {
	t.Helper()
	var c *net.UDPConn
	err := host.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			answer(c, buf[:n], from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// udpListener is a listener of datagrams with a proxy, in flow style; fields are further ones of the proxy.
func udpListener(name, addr string, virtual bool, fields string) string {
	ap := netip.MustParseAddrPort(addr)
	return fmt.Sprintf(`{name: %s, address: {socket_address: {protocol: UDP, address: %q, port_value: %d}}, bind_to_port: %t, listener_filters: [{name: envoy.filters.udp_listener.udp_proxy, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig, stat_prefix: %s, %s}}]}`,
		name, ap.Addr(), ap.Port(), !virtual, name, fields)
}

func TestUDPProxy(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend, other := udpBackend(t, host, "one "), udpBackend(t, host, "two ")
	matcher := `matcher: {matcher_tree: {input: {name: ip, typed_config: {"@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.SourceIPInput}}, exact_match_map: {map: {127.0.0.2: {action: {name: route, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route, cluster: two}}}}}}, on_no_match: {action: {name: route, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route, cluster: one}}}}`
	log := t.TempDir() + "/log"
	access := fmt.Sprintf(`, idle_timeout: 2s, access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: %s, log_format: {text_format_source: {inline_string: "%%ACCESS_LOG_TYPE%% %%BYTES_RECEIVED%% %%BYTES_SENT%% %%DYNAMIC_METADATA(udp.proxy.session:cluster_name)%% %%UPSTREAM_HOST%%\n"}}}}]`, log)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{udpListener("plain", "127.0.0.1:5300", false, "cluster: one"+access), udpListener("matched", "0.0.0.0:5301", false, matcher)},
		Clusters:  []string{harness.Cluster("one", harness.To(backend)), harness.Cluster("two", harness.To(other))},
	}.YAML()})
	got := host.App().Python(`
import socket
def ask(source, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.bind((source, 0)); s.connect(("127.0.0.1", port)); s.send(b"hi"); return s.recv(99).decode()
print(ask("127.0.0.1", 5300), ask("127.0.0.1", 5301), ask("127.0.0.2", 5301), sep="|")`)
	if want := "one hi|one hi|two hi"; strings.TrimSpace(got.Out) != want {
		t.Errorf("got %+v, want %q", got, want)
	}
	if text := weir.Page("/listeners"); !strings.Contains(text, "plain::127.0.0.1:5300") {
		t.Errorf("listeners: %s", text)
	}
	weir.AwaitStat("udp.matched.downstream_sess_total", func(n int) bool { return n == 2 })
	weir.AwaitStat("udp.plain.idle_timeout", func(n int) bool { return n == 1 })
	var names []string
	for line := range strings.Lines(weir.Page("/stats?filter=^(udp\\.plain|cluster\\.one\\.udp|listener\\.127)")) {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff(udpStatNames(), names); diff != "" {
		t.Errorf("statistics: %s", diff)
	}
	want := fmt.Sprintf("UdpSessionEnd 2 6 one %s\n", backend)
	harness.EventuallyNil(t, "access log", func() error {
		text, err := os.ReadFile(log)
		if err == nil && string(text) != want {
			err = fmt.Errorf("log %q, want %q", text, want)
		}
		return err
	})
}

// udpStatNames are Envoy's names, sorted, but for tunnels and the connections that a listener of datagrams does not have.
func udpStatNames() []string {
	return []string{
		"cluster.one.udp.sess_rx_datagrams", "cluster.one.udp.sess_rx_datagrams_dropped", "cluster.one.udp.sess_rx_errors",
		"cluster.one.udp.sess_tx_datagrams", "cluster.one.udp.sess_tx_errors",
		"listener.127.0.0.1_5300.udp.downstream_rx_datagram_dropped",
		"udp.plain.downstream_sess_active", "udp.plain.downstream_sess_no_route", "udp.plain.downstream_sess_rx_bytes",
		"udp.plain.downstream_sess_rx_datagrams", "udp.plain.downstream_sess_rx_errors", "udp.plain.downstream_sess_total",
		"udp.plain.downstream_sess_tx_bytes", "udp.plain.downstream_sess_tx_datagrams", "udp.plain.downstream_sess_tx_errors",
		"udp.plain.idle_timeout", "udp.plain.session_filter_config_missing",
	}
}

const udpClient = `
import socket, sys
family, ip, port = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, sys.argv[1], int(sys.argv[2])
def new():
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5); return s
s = new(); s.connect((ip, port)); s.send(b"c"); print(s.recv(99).decode(), s.getpeername()[0])
s = new(); s.sendto(b"u", (ip, port)); answer, peer = s.recvfrom(99); print(answer.decode(), peer[0], peer[1])
`

// An application's datagrams to any address reach the cluster, and the answers come from where it sent them.
func TestUDPCapture(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	backend := udpBackend(t, host, "got ")
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{udpListener("v4", "0.0.0.0:53", true, "cluster: backend"), udpListener("v6", "[::]:53", true, "cluster: backend")},
			Clusters:  []string{harness.Cluster("backend", harness.To(backend))},
		}.YAML(),
		Capture: []*harness.Cgroup{group}, Interception: "udp: {rules: [{ports: [443], action: REFUSE}]}",
	})
	app := host.App().In(group)
	for _, ip := range []string{"10.99.0.1", "fd00:99::1"} {
		got := app.Python(udpClient, ip, "53")
		if want := fmt.Sprintf("got c %s\ngot u %s 53", ip, ip); strings.TrimSpace(got.Out) != want {
			t.Errorf("%s: got %+v\nwant %q\n%s", ip, got, want, weir.Log())
		}
		refused := app.Python(udpClient, ip, "443")
		if !strings.Contains(refused.Err, "Connection refused") {
			t.Errorf("QUIC to %s: %+v", ip, refused)
		}
	}
	for question, want := range map[string]string{
		"dst=10.99.0.1:53":     "weir takes this datagram and sends it to cluster backend",
		"dst=[fd00:99::1]:443": "refuse_rule: the most specific rule refuses the destination",
		"dst=10.99.0.1:54":     "weir does not see this datagram: no rule covers the destination.",
	} {
		if answer := weir.Page("/weir/explain?udp=true&" + question); !strings.Contains(answer, want) {
			t.Errorf("%s: no %q in\n%s", question, want, answer)
		}
	}
	var page struct {
		UDP struct {
			Active  bool
			Cgroups []struct{ Hooks []struct{ Hook string } }
			Rules   []struct {
				Action, Listener string
				Port             uint16
			}
			Reasons []struct {
				Reason string
				Count  int
			}
		}
	}
	if err := json.Unmarshal([]byte(weir.Page("/weir/interception")), &page); err != nil {
		t.Fatal(err)
	}
	if u := page.UDP; !u.Active || len(u.Cgroups) != 1 || len(u.Cgroups[0].Hooks) != 8 || len(u.Rules) < 4 || len(u.Reasons) == 0 {
		t.Errorf("/weir/interception: %+v", u)
	}
	live := strings.Join(strings.Fields(weir.Page("/weir/connections")), "")
	for _, want := range []string{`"protocol":"udp"`, `"verdict":"captured"`, `"destination":"10.99.0.1:53"`, `"cluster":"backend"`, `"endpoint":"` + backend.String()} {
		if !strings.Contains(live, want) {
			t.Errorf("/weir/connections: no %s in\n%s", want, live)
		}
	}
	outside := host.App().Python(udpClient, "10.99.0.1", "53") // the host has no way there
	if !strings.Contains(outside.Err, "unreachable") {
		t.Errorf("outside of the cgroup: %+v", outside)
	}
	weir.AwaitStat("weir.interception.udp.captured", func(n int) bool { return n == 4 })
	if code := weir.Stop(); code != 0 {
		t.Fatalf("status %d", code)
	}
	after := app.Python(udpClient, "10.99.0.1", "53")
	if !strings.Contains(after.Err, "unreachable") {
		t.Errorf("after weir: %+v", after)
	}
}
