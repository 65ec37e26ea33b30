package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/test/harness"
)

// sniffUnless is a tls_inspector with filter_disabled.
func sniffUnless(disabled string) string {
	return `{name: sniff, typed_config: {"@type": ` + sniffType + `}, filter_disabled: ` + disabled + `}`
}

// hearsFirst tells whether the server's greeting comes although the client says nothing. Without it the client speaks, which is what
// the greeting has waited for.
func hearsFirst(t *testing.T, conn net.Conn, greeting string) bool {
	t.Helper()
	defer conn.Close()
	read := func(within time.Duration) error {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		got := make([]byte, len(greeting))
		_, err := io.ReadFull(conn, got)
		if err == nil && string(got) != greeting {
			err = fmt.Errorf("got %q", got)
		}
		return err
	}
	if read(silence) == nil {
		return true
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := read(harness.Patience); err != nil {
		t.Errorf("after the client has spoken: %v", err)
	}
	return false
}

// filter_disabled keeps inspectors from waiting for the clients of protocols in which the server speaks first.
func TestServerFirstProtocols(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("220 ready"))
	listener := func(addr, filter string) string {
		return harness.Listener{
			Name: addr, Address: addr, More: "listener_filters_timeout: 0s, listener_filters: [" + filter + "]",
			Chains: []string{harness.Chain(harness.TCP("backend"))},
		}.YAML()
	}
	const ports = "{or_match: {rules: [{destination_port_range: {start: 3306, end: 3307}}, {destination_port_range: {start: 25, end: 26}}]}}"
	discovered := byDiscovery("late", "ads: {}", sniffType)
	discovered = discovered[:len(discovered)-1] + ", filter_disabled: " + ports + "}"
	control.Set(
		typedConfig(t, "late", `{"@type": `+sniffType+`}`),
		harness.Resource(t, &listenerv3.Listener{}, listener("127.0.0.1:25", discovered)),
		harness.Resource(t, &listenerv3.Listener{}, listener("127.0.0.1:26", discovered)),
	)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{
			listener("127.0.0.1:3306", sniffUnless(ports)), listener("127.0.0.1:3307", sniffUnless(ports)),
			listener("127.0.0.1:81", sniffUnless("{any_match: true}")), listener("127.0.0.1:82", sniffUnless("{not_match: {any_match: true}}")),
		},
		Clusters: []string{
			harness.Cluster("backend", harness.To(backend.Addr)),
			harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2()),
		},
		More: harness.ADS("GRPC"),
	}.YAML()})
	weir.AwaitStat("listener_manager.total_listeners_active", func(n int) bool { return n == 6 })
	for addr, want := range map[string]bool{
		"127.0.0.1:3306": true, "127.0.0.1:3307": false, "127.0.0.1:25": true, "127.0.0.1:26": false, "127.0.0.1:81": true, "127.0.0.1:82": false,
	} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			if got := hearsFirst(t, host.MustDial(addr), "220 ready"); got != want {
				t.Errorf("the server speaks first: %v, want %v", got, want)
			}
		})
	}
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:3306&tls"),
		"sniff (disabled: (destination_port_range [3306, 3307)", "no tls_inspector that looks at it")
}

// For captured connections the port counts that the client meant, with the inspector of one listener for all of them.
func TestCapturedServerFirst(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("220 ready"))
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{harness.Listener{
				Name: "outbound", Address: "127.0.0.1:15001", OriginalDst: true,
				More:   "listener_filters_timeout: 0s, listener_filters: [" + sniffUnless("{destination_port_range: {start: 3306, end: 3307}}") + "]",
				Chains: []string{harness.Chain(harness.TCP("backend"))},
			}.YAML()},
			Clusters: []string{harness.Cluster("backend", harness.To(backend.Addr))},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	app := host.App().In(group)
	if got := app.Connect(harness.Connect{To: "10.99.0.1:3306"}); got.Received != "220 ready" {
		t.Errorf("the port without inspection: %+v", got)
	}
	waits := app.Connect(harness.Connect{To: "10.99.0.1:3307"})
	if waits.Received != "" {
		t.Errorf("the other port: %+v", waits)
	}
	if n := weir.Stat("cluster.backend.upstream_cx_total"); n != 1 {
		t.Errorf("%d connections to the backend, want 1", n)
	}
}
