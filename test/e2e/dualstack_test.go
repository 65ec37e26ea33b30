package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// inPod runs a command of the test's set-up in a pod's network namespace.
func (p *pod) inPod(t *testing.T, command string) {
	t.Helper()
	if r := p.App().Run("sh", "-c", command); r.Status != 0 {
		t.Fatalf("%s: %+v", command, r)
	}
}

// socketsOf waits until exactly these addresses are captured at in the only pod, and gives what is wrong there.
func socketsOf(t *testing.T, weir *harness.Weir, want string) (problem string) {
	t.Helper()
	harness.Eventually(t, "capture sockets at "+want, func() bool {
		all := servedNamespaces(weir)
		if len(all) != 1 {
			return false
		}
		var hosts []string
		for _, s := range all[0].CaptureSockets {
			hosts = append(hosts, netip.MustParseAddrPort(s).Addr().String())
		}
		problem = all[0].Error
		return strings.Join(hosts, " ") == want
	})
	return problem
}

// twoFamilies sends a service with an address of each family to itself.
func twoFamilies() string {
	virtual := func(name, addr, cluster string) string {
		return harness.Listener{Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.TCP(cluster))}}.YAML()
	}
	return harness.Bootstrap{
		Listeners: []string{
			virtual("four", "10.99.0.1:80", "four"), virtual("six", "[fd00:99::1]:80", "six"),
			virtual("crossed", "10.99.0.2:80", "six"), virtual("loopback4", "127.0.0.2:80", "six"), virtual("loopback6", "[::1]:81", "four"),
		},
		Clusters: []string{
			harness.Cluster("four", harness.To(netip.MustParseAddrPort("10.50.0.1:7000"))),
			harness.Cluster("six", harness.To(netip.MustParseAddrPort("[fd00:50::1]:7000"))),
		},
	}.YAML()
}

// TestFamilies has a pod with both address families, and pods that lack one.
func TestFamilies(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, test := range []struct {
		name, setup string
		sockets     string
		problem     string
		// what each destination answers, or how connect() fails.
		want map[string]string
	}{
		{
			"both", "true", "127.0.0.1 ::1", "",
			map[string]string{"10.99.0.1:80": "pod", "[fd00:99::1]:80": "pod", "10.99.0.2:80": "pod", "127.0.0.2:80": "pod", "[::1]:81": "pod"},
		},
		{
			"no IPv6", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "127.0.0.1", "[::1]",
			// As without weir: there is no way to go. The service that only IPv6 could reach is refused by weir.
			map[string]string{"10.99.0.1:80": "pod", "[fd00:99::1]:80": "EADDRNOTAVAIL ENETUNREACH", "10.99.0.2:80": "", "127.0.0.2:80": ""},
		},
		{
			"no IPv4", "ip -4 addr flush dev lo", "::1", "127.0.0.1",
			map[string]string{"[fd00:99::1]:80": "pod", "10.99.0.1:80": "ENETUNREACH", "[::1]:81": ""},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			node := harness.NewHost(t)
			pods := harness.NewCgroup(t)
			p := &pod{Host: harness.NewHost(t).AddAddress("10.50.0.1", "fd00:50::1"), group: pods.Child(t, "pod")}
			p.TCPBackend("[::]:7000", harness.Greets("pod"))
			p.inPod(t, test.setup)
			p.app = p.App().In(p.group)
			p.pause = p.app.Start("sleep", "1000")
			weir := node.StartWeir(harness.WeirOptions{Config: twoFamilies(), Capture: []*harness.Cgroup{pods}, Interception: userSpace})
			problem := socketsOf(t, weir, test.sockets)
			if !strings.Contains(problem, test.problem) || (problem == "") != (test.problem == "") {
				t.Errorf("problem %q, want %q", problem, test.problem)
			}
			for to, want := range test.want {
				got := p.app.Connect(harness.Connect{To: to, HalfClose: true})
				switch {
				case got.Failed != "" && strings.Contains(want, got.Failed):
				case got.Failed != "" || got.Received != want || want != "" && got.Peer != to:
					t.Errorf("%s: %+v, want %q", to, got, want)
				}
			}
		})
	}
}

// TestOwnNamespaceWithoutIPv6 is about weir's own host.
func TestOwnNamespaceWithoutIPv6(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := &pod{Host: harness.NewHost(t).AddAddress("10.50.0.1"), group: harness.NewCgroup(t)}
	node.TCPBackend("10.50.0.1:7000", harness.Greets("node"))
	node.inPod(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
	weir := node.StartWeir(harness.WeirOptions{Config: passthrough(), Capture: []*harness.Cgroup{node.group}, Interception: userSpace})
	for _, mapped := range []bool{false, true} {
		if got := node.App().In(node.group).Connect(harness.Connect{To: "10.50.0.1:7000", Mapped: mapped, HalfClose: true}); got.Received != "node" {
			t.Errorf("mapped %t: %+v", mapped, got)
		}
	}
	weir.AwaitStat("cluster.passthrough.upstream_cx_total", func(n int) bool { return n == 2 })
}

// TestLinkLocalDestination captures connections to a link-local address, which mean something on one link only.
func TestLinkLocalDestination(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	node := harness.NewHost(t)
	pods := harness.NewCgroup(t)
	p := newPod(t, node, pods, "pod", "192.0.2.0/30")
	router := &pod{Host: node}
	router.inPod(t, `ip addr add fe80::77/64 dev $(ip -o link | sed -n 's/^[0-9]*: \(weir[0-9]*\)@.*/\1/p') nodad`)
	// An address is not used before its uniqueness was found out.
	p.inPod(t, "for n in $(seq 100); do ip -6 -o addr show scope link | grep fe80 | grep -qv tentative && exit 0; sleep 0.1; done; exit 1")
	backend := node.HTTPBackend("router", "[::]:8080")
	weir := node.StartWeir(harness.WeirOptions{
		Config: passthrough(), Capture: []*harness.Cgroup{pods}, Interception: userSpace + `, include: [{prefix: "fe80::/10", ports: [8080]}]`,
	})
	served(t, weir, p)
	wantOK(t, p.app.Run("sh", "-c", `d=$(ip -o link | sed -n 's/^[0-9]*: \(weir[0-9]*\)@.*/\1/p'); exec curl -sS --max-time 5 "http://[fe80::77%25$d]:8080/"`), "router")
	if n := weir.Stat("cluster.passthrough.upstream_cx_total"); n != 1 {
		t.Errorf("%d connections by way of weir", n)
	}
	if from := netip.MustParseAddrPort(backend.Last(t).RemoteAddr); !from.Addr().IsLinkLocalUnicast() {
		t.Errorf("the backend sees %s", from)
	}
}
