package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// A weir that starts before the loopback device is up goes by the fail policy for the address family that it cannot capture, and
// captures as soon as the device is up.
func TestLateLoopback(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host, group := harness.NewHost(t), harness.NewCgroup(t)
	app := host.App().In(group)
	wantOK(t, host.App().Run("ip", "link", "set", "lo", "down"), "")
	listener := func(name, addr string) string {
		return harness.Listener{Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()
	}
	backend, datagrams := netip.MustParseAddrPort("127.0.0.1:8081"), netip.MustParseAddrPort("127.0.0.1:8053")
	conf := harness.Bootstrap{
		Listeners: []string{
			listener("v4", "10.99.0.1:80"), listener("v6", "[fd00:99::1]:80"),
			udpListener("udp", "0.0.0.0:53", true, "cluster: datagrams"), udpListener("udp6", "[::]:53", true, "cluster: datagrams"),
		},
		Clusters: []string{
			harness.Cluster("backend", harness.To(backend)), harness.Cluster("datagrams", harness.To(datagrams)),
		},
		More: `bootstrap_extensions: [{name: i, typed_config: {"@type": type.googleapis.com/weir.interception.v1.Interception,
  cgroups: [` + group.Name + `], fail_policy: CLOSED, ` + userSpace + `}}]`,
	}
	file := filepath.Join(harness.Dir(t), "weir.yaml")
	harness.WriteFile(t, file, conf.YAML())
	weir := host.App().Start(harness.Binary("weir"), "-c", file, "--disable-hot-restart")
	connect := func(to, want string) error {
		if got := app.Connect(harness.Connect{To: to, HalfClose: true}); got.Received != want && !strings.Contains(got.Failed, want) {
			return fmt.Errorf("connect to %s: %+v, want %s", to, got, want)
		}
		if weir.HasEnded() {
			t.Fatal("weir has ended")
		}
		return nil
	}
	const v4, v6 = "10.99.0.1:80", "[fd00:99::1]:80"
	harness.EventuallyNil(t, "the fail policy", func() error { return connect(v6, "ECONNREFUSED") })
	wantOK(t, host.App().Run("ip", "link", "set", "lo", "up"), "")
	host.TCPBackend(backend.String(), harness.Greets("hello"))
	harness.EventuallyNil(t, "IPv6", func() error { return connect(v6, "hello") })
	harness.EventuallyNil(t, "IPv4", func() error { return connect(v4, "hello") })
	udpBackendAt(t, host, datagrams.String(), "got ")
	harness.EventuallyNil(t, "datagrams of IPv6", func() error {
		if got := app.Python(udpClient, "fd00:99::1", "53"); strings.TrimSpace(got.Out) != "got c fd00:99::1\ngot u fd00:99::1 53" {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	})
}
