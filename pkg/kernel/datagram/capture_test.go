package datagram

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// testMark is not the default mark, so that a daemon on the same machine is of no consequence.
const testMark = 0x1235

// bench is an interceptor with a cgroup of its own, and capture sockets that answer each datagram with where it was going.
type bench struct {
	*Interceptor
	t         testing.TB
	dir, name string
}

func newBench(t testing.TB) *bench {
	t.Helper()
	h := kerneltest.Hierarchy(t)
	b := &bench{t: t, name: kerneltest.CgroupName(t)}
	b.dir = kerneltest.Cgroup(t, h, b.name)
	var err error
	if b.Interceptor, err = New(Options{ProxyMark: testMark, Hierarchy: h, OpenCapture: b.open}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// open opens the capture sockets.
func (b *bench) open() (Ports, error) {
	v4 := b.serve("udp4", "0.0.0.0:0", unix.IPPROTO_IP, unix.IP_PKTINFO)
	var v6 []uint16
	for range slots {
		v6 = append(v6, b.serve("udp6", "[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO))
	}
	return Ports{v4, v6}, nil
}

func (b *bench) serve(network, addr string, level, option int) uint16 {
	b.t.Helper()
	at, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := net.ListenUDP(network, at)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, _ := c.SyscallConn()
	raw.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), level, option, 1), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, testMark))
	})
	if err != nil {
		b.t.Fatal(err)
	}
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf, oob := make([]byte, 2048), make([]byte, 128)
		for {
			_, n, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
			if err != nil {
				return
			}
			local := localOf(oob[:n])
			dst, ok := b.OriginalDst(0, from, netip.AddrPortFrom(local, port))
			c.WriteMsgUDPAddrPort(fmt.Appendf(nil, "%s %t", dst, ok), sourceOf(local), from)
		}
	}()
	b.t.Cleanup(func() { c.Close(); <-done })
	return port
}

func localOf(oob []byte) netip.Addr {
	messages, _ := unix.ParseSocketControlMessage(oob)
	switch {
	case len(messages) == 0:
		return netip.Addr{}
	case messages[0].Header.Level == unix.IPPROTO_IP:
		return netip.AddrFrom4([4]byte(messages[0].Data[8:12]))
	}
	return netip.AddrFrom16([16]byte(messages[0].Data[:16]))
}

func sourceOf(local netip.Addr) []byte {
	if local.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
}

func rule(prefix string, port uint16, action steer.Action) steer.Rule {
	return steer.Rule{Prefix: netip.MustParsePrefix(prefix), Port: port, Protocol: steer.UDP, Action: action, Listener: "l"}
}

func (b *bench) apply(change func(*steer.Plan), rules ...steer.Rule) {
	b.t.Helper()
	plan := &steer.Plan{Cgroups: []string{b.name}, Rules: rules}
	if change != nil {
		change(plan)
	}
	if err := b.Apply(plan); err != nil {
		b.t.Fatal(err)
	}
}

const prelude = `
import socket, sys, struct, ctypes
def err(f, *a):
    try: return f(*a)
    except OSError as e: return socket.errorTab.get(e.errno) if hasattr(socket, "errorTab") else e.strerror
def new(family, mark=0):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(3)
    if mark: s.setsockopt(socket.SOL_SOCKET, 36, mark)
    return s
V4, V6 = socket.AF_INET, socket.AF_INET6
`

// in runs a program in the cgroup, or outside of it.
func (b *bench) python(program string, inside bool) string {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "python3", "-c", prelude+program)
	if inside {
		dir, err := os.Open(b.dir)
		if err != nil {
			b.t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// application is a program and what it prints; "" where that has to begin with True.
type application struct{ name, program, want string }

func applications() []application {
	return []application{
		{
			"connected IPv4", `
s = new(V4); s.connect(("10.99.0.1", 53)); s.send(b"x")
print(s.recv(99).decode(), s.getpeername()); s.send(b"x"); print(s.recvfrom(99))`,
			"10.99.0.1:53 true ('10.99.0.1', 53)\n(b'10.99.0.1:53 true', ('10.99.0.1', 53))",
		},
		{
			"connected IPv6", `
s = new(V6); s.connect(("fd00:99::1", 53)); s.send(b"x")
print(s.recv(99).decode(), s.getpeername()); s.send(b"x"); print(s.recvfrom(99))`,
			"[fd00:99::1]:53 true ('fd00:99::1', 53, 0, 0)\n(b'[fd00:99::1]:53 true', ('fd00:99::1', 53, 0, 0))",
		},
		{
			"connected IPv4-mapped", `
s = new(V6); s.connect(("::ffff:10.99.0.1", 53)); s.send(b"x")
print(s.recv(99).decode(), s.getpeername()); s.send(b"x"); print(s.recvfrom(99))`,
			"10.99.0.1:53 true ('::ffff:10.99.0.1', 53, 0, 0)\n(b'10.99.0.1:53 true', ('::ffff:10.99.0.1', 53, 0, 0))",
		},
		{
			"several destinations of one socket", `
s = new(V4)
for ip in "10.99.0.1", "10.99.0.2", "10.99.0.1": s.sendto(b"x", (ip, 53)); print(s.recvfrom(99))`,
			"(b'10.99.0.1:53 true', ('10.99.0.1', 53))\n(b'10.99.0.2:53 true', ('10.99.0.2', 53))\n(b'10.99.0.1:53 true', ('10.99.0.1', 53))",
		},
		{
			"several destinations of one socket of IPv6", `
s = new(V6)
for ip in "fd00:99::1", "fd00:99::2", "fd00:99::1": s.sendto(b"x", (ip, 53)); print(s.recvfrom(99)[:2])`,
			"(b'[fd00:99::1]:53 true', ('fd00:99::1', 53, 0, 0))\n(b'[fd00:99::2]:53 true', ('fd00:99::2', 53, 0, 0))\n(b'[fd00:99::1]:53 true', ('fd00:99::1', 53, 0, 0))",
		},
		{
			"both families of one socket", `
s = new(V6)
for ip in "fd00:99::1", "::ffff:10.99.0.1": s.sendto(b"x", (ip, 53)); print(s.recvfrom(99)[1][0])`,
			"fd00:99::1\n::ffff:10.99.0.1",
		},
		{"MSG_PEEK", `
s = new(V4); s.sendto(b"x", ("10.99.0.1", 53))
print(s.recvfrom(99, socket.MSG_PEEK)[1], s.recvfrom(99)[1])`, "('10.99.0.1', 53) ('10.99.0.1', 53)"},
		{"recvmsg", `
s = new(V4); s.sendmsg([b"x"], [], 0, ("10.99.0.1", 53)); print(s.recvmsg(99)[3])`, "('10.99.0.1', 53)"},
		{
			"connect after sendto, and to another", `
s = new(V4); s.sendto(b"x", ("10.99.0.1", 53)); s.recv(99); s.connect(("10.99.0.2", 53)); s.send(b"x"); print(s.recv(99).decode(), s.getpeername())
s.connect(("10.99.0.3", 53)); s.send(b"x"); print(s.recv(99).decode(), s.getpeername())`,
			"10.99.0.2:53 true ('10.99.0.2', 53)\n10.99.0.3:53 true ('10.99.0.3', 53)",
		},
		{"disconnect", `
s = new(V4); s.connect(("10.99.0.2", 53))
ctypes.CDLL(None).connect(s.fileno(), struct.pack("HHI8x", 0, 0, 0), 16)
print(err(s.getpeername)); s.sendto(b"x", ("10.99.0.1", 53)); print(s.recvfrom(99)[1])`, "Transport endpoint is not connected\n('10.99.0.1', 53)"},
		{"connect to what passes", `
s = new(V4); s.connect(("10.99.0.2", 53)); s.connect(("127.0.0.1", 9)); print(s.getpeername())`, "('127.0.0.1', 9)"},
		{"a source address of its own", `
s = new(V4); s.bind(("127.0.0.5", 0)); s.sendto(b"x", ("10.99.0.1", 53)); print(s.recvfrom(99)[1])`, "('10.99.0.1', 53)"},
		{
			"refused", `
s = new(V4); print(err(s.connect, ("10.99.0.1", 443))); print(err(s.sendto, b"x", ("10.99.0.1", 443)))
s = new(V6); print(err(s.connect, ("fd00:99::1", 443))); print(err(s.sendto, b"x", ("fd00:99::1", 443)))`,
			"Connection refused\nConnection refused\nConnection refused\nConnection refused",
		},
		{"an answer that is not ours", `
r = new(V4); r.bind(("127.0.0.1", 0)); s = new(V4); s.sendto(b"x", r.getsockname()); r.sendto(b"y", r.recvfrom(9)[1])
print(s.recvfrom(9)[1] == r.getsockname())`, "True"},
		{"the proxy's mark", fmt.Sprintf(`
s = new(V4, %d); print(err(s.connect, ("10.99.0.1", 53)), s.getsockname()[0] == "127.0.0.1")`, testMark), ""}, // without a route it fails
		{"too many destinations of one socket of IPv6", `
s = new(V6); got = []
for i in range(16): s.sendto(b"x", ("fd00:99::%x" % (i+1), 53)); got.append(s.recvfrom(99)[1][0])
print(got == ["fd00:99::%x" % (i+1) for i in range(16)]); print(err(s.sendto, b"x", ("fd00:99::ff", 53)) != 1 or "sent elsewhere")`, ""},
	}
}

func TestCapture(t *testing.T) {
	b := newBench(t)
	b.apply(nil, rule("10.99.0.0/16", 53, steer.Redirect), rule("fd00:99::/64", 53, steer.Redirect), rule("10.99.0.9/32", 53, steer.Pass),
		rule("10.99.0.0/16", 443, steer.Refuse), rule("fd00:99::/64", 443, steer.Refuse))
	for _, tc := range applications() {
		t.Run(tc.name, func(t *testing.T) {
			got := b.python(tc.program, true)
			switch {
			case tc.name == "the proxy's mark":
				if strings.HasSuffix(got, "True") {
					t.Errorf("the proxy's own socket was captured: %s", got)
				}
			case tc.want == "":
				if !strings.HasPrefix(got, "True") {
					t.Error(got)
				}
			case got != tc.want:
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
	counters, err := b.Counters()
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{"captured", "refuse_rule", "answered", "no_room", "proxy_mark", "no_rule"} {
		if counters[reason] == 0 {
			t.Errorf("%s was never counted: %v", reason, counters)
		}
	}
}

// Processes outside of the cgroup see nothing of it.
func TestOutside(t *testing.T) {
	b := newBench(t)
	b.apply(nil, rule("127.9.9.0/24", 0, steer.Refuse))
	program := `s = new(V4); print(err(s.connect, ("127.9.9.9", 53)))`
	if got := b.python(program, false); got != "None" {
		t.Errorf("outside: %s", got)
	}
	if got := b.python(program, true); got != "Connection refused" {
		t.Errorf("inside: %s", got)
	}
	b.apply(nil)
	if got := b.python(program, true); got != "None" {
		t.Errorf("after the rules are gone: %s", got)
	}
}

// noNetns is the cookie of no namespace: they are given out in order, from 1.
const noNetns = 1 << 40

func TestExplain(t *testing.T) {
	b := newBench(t)
	exclude := func(p *steer.Plan) { p.Excludes = []steer.Rule{rule("10.99.1.0/24", 0, steer.Pass)} }
	b.apply(exclude, rule("10.99.0.0/16", 53, steer.Redirect), rule("10.99.0.0/16", 443, steer.Refuse), rule("10.99.0.9/32", 0, steer.Pass))
	for _, tc := range []struct {
		query  Query
		action steer.Action
		reason Reason
	}{
		{Query{Dst: netip.MustParseAddrPort("10.99.0.1:53")}, steer.Redirect, ReasonCaptured},
		{Query{Dst: netip.MustParseAddrPort("10.99.0.1:443")}, steer.Refuse, ReasonRefuseRule},
		{Query{Dst: netip.MustParseAddrPort("10.99.0.9:54")}, steer.Pass, ReasonPassRule},
		{Query{Dst: netip.MustParseAddrPort("10.99.1.1:53")}, steer.Pass, ReasonExcluded},
		{Query{Dst: netip.MustParseAddrPort("10.98.0.1:53")}, steer.Pass, ReasonNoRule},
		{Query{Dst: netip.MustParseAddrPort("10.99.0.1:53"), Netns: noNetns}, steer.Pass, ReasonOtherNetns},
		{Query{Dst: netip.MustParseAddrPort("10.99.0.1:53"), Device: 1}, steer.Pass, ReasonBoundDevice},
		{Query{Dst: netip.MustParseAddrPort("10.99.0.1:53"), Mark: testMark}, steer.Pass, ReasonProxyMark},
	} {
		got, err := b.Explain(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		if got.Action != tc.action || got.Reason != tc.reason {
			t.Errorf("%+v: %s, %s", tc.query, got.Action, got.Reason)
		}
	}
	b.apply(func(p *steer.Plan) { p.FailClosed = true }, rule("10.99.0.0/16", 53, steer.Redirect))
	got, err := b.Explain(Query{Dst: netip.MustParseAddrPort("10.99.0.1:53"), Netns: noNetns})
	if err != nil || got.Action != steer.Refuse {
		t.Errorf("fail policy CLOSED: %+v, %v", got, err)
	}
}

func TestNumberOf(t *testing.T) {
	for addr, want := range map[string]uint32{"127.1.0.0": 0x10000, "127.255.1.2": 0xff0102, "10.0.0.1": 0, "::1": 0} {
		if got, _ := numberOf(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %#x, want %#x", addr, got, want)
		}
	}
}
