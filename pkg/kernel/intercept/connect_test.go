package intercept

import (
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Addresses of documentation prefixes: nobody answers there.
const (
	nowhere4 = "192.0.2.80:80"
	nowhere6 = "[2001:db8::80]:80"
)

func TestConnectIsCaptured(t *testing.T) {
	b := newBench(t)
	conns := b.capture(t)
	b.apply(t, b.plan(80, "192.0.2.80/32", "2001:db8::80/128"))
	id, err := cgroup.ID(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		req      request
		wantPeer string
		wantDst  string
		pending  bool
	}{
		{"IPv4", request{Addr: nowhere4}, nowhere4, nowhere4, false},
		{"IPv6", request{Addr: nowhere6}, nowhere6, nowhere6, false},
		{"IPv4 on an IPv6 socket", request{Addr: nowhere4, Mapped: true}, "[::ffff:192.0.2.80]:80", nowhere4, false},
		{"IPv4 non-blocking", request{Addr: nowhere4, NonBlocking: true}, nowhere4, nowhere4, true},
		{"IPv6 non-blocking", request{Addr: nowhere6, NonBlocking: true}, nowhere6, nowhere6, true},
		{"IPv4 fast open", request{Addr: nowhere4, FastOpen: true}, nowhere4, nowhere4, false},
		{"IPv6 fast open", request{Addr: nowhere6, FastOpen: true}, nowhere6, nowhere6, false},
		{"bound source", request{Addr: nowhere4, Source: "127.0.0.7:0"}, nowhere4, nowhere4, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ans := client(t, b.dir, test.req)
			if ans.Err != "" || ans.Greeting != "captured" {
				t.Fatalf("client: %+v, want it captured", ans)
			}
			if ans.Peer != test.wantPeer {
				t.Errorf("getpeername %s, want the address it asked for, %s", ans.Peer, test.wantPeer)
			}
			if ans.Pending != test.pending {
				t.Errorf("connect in progress: %t, want %t", ans.Pending, test.pending)
			}
			got := receive(t, conns)
			want := Flow{
				Dst: netip.MustParseAddrPort(test.wantDst), Listener: "shop", Rule: got.flow.Rule,
				Cookie: ans.Cookie, Cgroup: id, PID: uint32(ans.PID), UID: uint32(ans.UID),
			}
			if !got.known || got.flow != want {
				t.Errorf("original destination\n got %+v (%t)\nwant %+v", got.flow, got.known, want)
			}
		})
	}
}

func TestConnectIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	server4, server6 := direct(t, "127.0.0.1:0"), direct(t, "[::1]:0")
	plan := b.plan(0, "127.0.0.0/8", "::1/128")
	plan.Excludes = []steer.Rule{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Port: server4.Port()}}
	b.apply(t, plan)
	outside := kerneltest.Cgroup(t, b.hierarchy, b.name+"-outside")
	tests := []struct {
		name string
		dir  string
		req  request
	}{
		{"other cgroup", outside, request{Addr: server6.String()}},
		{"excluded", b.dir, request{Addr: server4.String()}},
		{"excluded, on an IPv6 socket", b.dir, request{Addr: server4.String(), Mapped: true}},
		{"the proxy's mark", b.dir, request{Addr: server6.String(), Mark: testMark}},
		{"bound to a device, open", b.dir, request{Addr: server6.String(), Device: "lo"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if ans := client(t, test.dir, test.req); ans.Err != "" || ans.Greeting != "direct" || ans.Peer != test.req.peer() {
				t.Errorf("client: %+v, want it to reach %s", ans, test.req.Addr)
			}
		})
	}
	t.Run("UDP", func(t *testing.T) {
		before := b.count(t, ReasonNotTCP)
		if ans := client(t, b.dir, request{Addr: server6.String(), Datagram: true}); ans.Err != "" || ans.Peer != server6.String() {
			t.Errorf("client: %+v, want peer %s", ans, server6)
		}
		if got := b.count(t, ReasonNotTCP) - before; got != 1 {
			t.Errorf("counter not_tcp grew by %d, want 1", got)
		}
	})
	t.Run("captured after all", func(t *testing.T) {
		if ans := client(t, b.dir, request{Addr: server6.String()}); ans.Greeting != "captured" {
			t.Errorf("client: %+v, want it captured: the other cases prove nothing", ans)
		}
	})
}

func TestFailPolicy(t *testing.T) {
	newNamespace := func(attr *syscall.SysProcAttr) { attr.Cloneflags = unix.CLONE_NEWNET }
	b := newBench(t)
	server := direct(t, "127.0.0.1:0")
	tests := []struct {
		name    string
		prepare func(t *testing.T)
		req     request
		change  []func(*syscall.SysProcAttr)
		reason  Reason
		open    int
	}{
		{"nothing set", func(t *testing.T) { b.setCapture(t) }, request{}, nil, ReasonNoCaptureSocket, 0},
		{"not listening", func(t *testing.T) { b.setCapture(t, unused(t)) }, request{}, nil, ReasonNotListening, 0},
		{
			"other namespace", func(t *testing.T) { b.capture(t) },
			request{},
			[]func(*syscall.SysProcAttr){newNamespace},
			ReasonOtherNetns, int(unix.ENETUNREACH),
		},
		{"bound to device", func(t *testing.T) { b.capture(t) }, request{Device: "lo"}, nil, ReasonBoundDevice, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.prepare(t)
			test.req.Addr = server.String()
			plan := b.plan(0, "127.0.0.0/8")
			b.apply(t, plan)
			before := b.count(t, test.reason)
			if ans := client(t, b.dir, test.req, test.change...); ans.Errno != test.open || (ans.Errno == 0 && ans.Greeting != "direct") {
				t.Errorf("open: %+v, want errno %d", ans, test.open)
			}
			closed := *plan
			closed.FailClosed = true
			b.apply(t, &closed)
			if ans := client(t, b.dir, test.req, test.change...); ans.Errno != int(unix.ECONNREFUSED) {
				t.Errorf("closed: %+v, want ECONNREFUSED", ans)
			}
			if got := b.count(t, test.reason) - before; got != 2 {
				t.Errorf("counter %s grew by %d, want 2", test.reason, got)
			}
		})
	}
}

func TestSocketThatConnectsAgain(t *testing.T) {
	b := newBench(t)
	conns := b.capture(t)
	b.apply(t, b.plan(80, "192.0.2.80/32"))
	closedPort, server := unused(t), direct(t, "127.0.0.1:0")
	t.Run("captured the second time", func(t *testing.T) {
		ans := client(t, b.dir, request{Addr: closedPort.String(), Again: nowhere4})
		if ans.Greeting != "captured" || ans.Peer != nowhere4 {
			t.Errorf("client: %+v, want it captured", ans)
		}
		if got := receive(t, conns); got.flow.Dst.String() != nowhere4 {
			t.Errorf("original destination %s, want %s", got.flow.Dst, nowhere4)
		}
	})
	t.Run("left alone the second time", func(t *testing.T) {
		ans := client(t, b.dir, request{Addr: nowhere4, Again: server.String()})
		if ans.Greeting != "direct" || ans.Peer != server.String() {
			t.Errorf("client: %+v, want it to reach %s", ans, server)
		}
		if got := receive(t, conns); got.flow.Dst.String() != nowhere4 {
			t.Errorf("original destination %s of the first connection, want %s", got.flow.Dst, nowhere4)
		}
	})
	t.Run("captured both times", func(t *testing.T) {
		b.apply(t, b.plan(80, "192.0.2.80/32", "192.0.2.81/32"))
		ans := client(t, b.dir, request{Addr: nowhere4, Again: "192.0.2.81:80"})
		if ans.Greeting != "captured" || ans.Peer != "192.0.2.81:80" {
			t.Errorf("client: %+v, want it captured", ans)
		}
		for _, want := range []string{nowhere4, "192.0.2.81:80"} {
			if got := receive(t, conns); got.flow.Dst.String() != want {
				t.Errorf("original destination %s, want %s", got.flow.Dst, want)
			}
		}
	})
}

// TestMPTCP shows what is so with multipath TCP: its connections are captured and the proxy knows where they were going, but the
// hook of getpeername sees another socket than the hook of connect, so the application sees the capture socket's address.
func TestMPTCP(t *testing.T) {
	b := newBench(t)
	conns := b.capture(t)
	b.apply(t, b.plan(80, "192.0.2.80/32"))
	ans := client(t, b.dir, request{Addr: nowhere4, Protocol: unix.IPPROTO_MPTCP})
	if ans.Errno == int(unix.EPROTONOSUPPORT) || ans.Errno == int(unix.ENOPROTOOPT) {
		t.Skip("this kernel has no multipath TCP")
	}
	if ans.Greeting != "captured" || ans.Peer != b.capture4() {
		t.Errorf("client: %+v, want it captured, and the capture socket for a peer", ans)
	}
	if got := receive(t, conns); got.flow.Dst.String() != nowhere4 {
		t.Errorf("original destination %s, want %s", got.flow.Dst, nowhere4)
	}
}

// TestMPTCPIsNotOffloaded has the connection captured instead; see unfit in bpf/service.h.
func TestMPTCPIsNotOffloaded(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.RoundRobin, crowd(t, "127.0.0.1:0", "hello")))
	ans := client(t, b.dir, request{Addr: nowhere4, Protocol: unix.IPPROTO_MPTCP})
	if ans.Errno == int(unix.EPROTONOSUPPORT) || ans.Errno == int(unix.ENOPROTOOPT) {
		t.Skip("this kernel has no multipath TCP")
	}
	if ans.Greeting != "captured" || b.count(t, ReasonOffloadUnfit) != 1 {
		t.Errorf("client: %+v, want it captured", ans)
	}
}

// TestAttachedAboveAndBelow is what an update from a cgroup to its parent passes through: the programs run twice.
func TestAttachedAboveAndBelow(t *testing.T) {
	b := newBench(t)
	conns := b.capture(t)
	b.apply(t, b.plan(80, "192.0.2.80/32", "2001:db8::80/128"))
	below := kerneltest.Cgroup(t, b.hierarchy, b.name+"/below")
	b.attachTo(t, below)
	for _, addr := range []string{nowhere4, nowhere6} {
		ans := client(t, below, request{Addr: addr})
		if ans.Greeting != "captured" || ans.Peer != addr {
			t.Errorf("client: %+v, want it captured and to see %s", ans, addr)
		}
		if got := receive(t, conns); got.flow.Dst.String() != addr {
			t.Errorf("original destination %s, want %s", got.flow.Dst, addr)
		}
	}
}

func TestCaptureSocketItself(t *testing.T) {
	b := newBench(t)
	conns := b.capture(t)
	b.apply(t, b.plan(0, "127.0.0.0/8"))
	ans := client(t, b.dir, request{Addr: b.capture4()})
	if ans.Greeting != "captured" || ans.Peer != b.capture4() {
		t.Errorf("client: %+v, want an ordinary connection", ans)
	}
	if got := receive(t, conns); got.known {
		t.Errorf("original destination %+v, want none", got.flow)
	}
}

// peer is what getpeername should say: for an IPv6 socket, the mapped address.
func (r request) peer() string {
	addr := netip.MustParseAddrPort(r.Addr)
	if r.Mapped {
		addr = netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
	}
	return addr.String()
}

func (b *bench) setCapture(t *testing.T, addrs ...netip.AddrPort) {
	t.Helper()
	if err := b.SetCapture(0, addrs...); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) count(t *testing.T, reason Reason) uint64 {
	t.Helper()
	counters, err := b.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return counters[reason.String()]
}

// unused returns a port that is bound, so that nobody else can take it, and not listened on.
func unused(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, sockaddr(netip.MustParseAddrPort("127.0.0.1:0"), false)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(sockaddrText(name))
}

// capture4 is the IPv4 capture socket of the test's own namespace.
func (b *bench) capture4() string { return b.captures()[0].Addrs[0].String() }
