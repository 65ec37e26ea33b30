package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// captured is a host where an application's connections to 10.99.0.1:80 and [fd00:99::1]:80 go to a cluster.
type captured struct {
	host *harness.Host
	app  harness.App
	weir *harness.Weir
}

// capture starts a weir that captures for an application and proxies TCP to a backend.
func capture(t *testing.T, host *harness.Host, cluster string) captured {
	t.Helper()
	harness.NeedInterception(t)
	group := harness.NewCgroup(t)
	listener := func(name, addr string) string {
		return harness.Listener{Name: name, Address: addr, Virtual: true, Chains: []string{harness.Chain(harness.TCP("backend"))}}.YAML()
	}
	weir := host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Listeners: []string{listener("v4", "10.99.0.1:80"), listener("v6", "[fd00:99::1]:80")},
			Clusters:  []string{cluster},
		}.YAML(),
		Capture: []*harness.Cgroup{group},
	})
	return captured{host, host.App().In(group), weir}
}

func TestCaptureGo(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	c := capture(t, host, harness.Cluster("backend", harness.To(backend.Addr)))
	for _, tc := range []struct {
		name, to, peer string
		mapped         bool
	}{
		{"IPv4", "10.99.0.1:80", "10.99.0.1:80", false},
		{"IPv6", "[fd00:99::1]:80", "[fd00:99::1]:80", false},
		{"IPv4-mapped", "10.99.0.1:80", "[::ffff:10.99.0.1]:80", true},
	} {
		for _, nonBlocking := range []bool{false, true} {
			name := tc.name
			if nonBlocking {
				name += " non-blocking"
			}
			t.Run(name, func(t *testing.T) {
				before := backend.Accepted()
				got := c.app.Connect(harness.Connect{To: tc.to, Mapped: tc.mapped, NonBlocking: nonBlocking, Send: " there", HalfClose: true})
				want := harness.Connected{Peer: tc.peer, Received: "hello there", End: "eof", Pending: got.Pending}
				if got != want {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
				if n := backend.Accepted() - before; n != 1 {
					t.Errorf("the backend got %d connections", n)
				}
				if outside := host.App().Connect(harness.Connect{To: tc.to, Mapped: tc.mapped}); outside.Failed == "" {
					t.Errorf("a process outside of the cgroup was captured: %+v", outside)
				}
			})
		}
	}
}

const pythonClient = `
import asyncio, socket, sys
async def main(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    print(*writer.get_extra_info("peername")[:2])
    writer.write(b" there")
    writer.write_eof()
    print((await reader.read()).decode())
    writer.close()
def plain(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(10)
        s.connect((host, port))
        print(*s.getpeername()[:2])
        s.sendall(b" there")
        s.shutdown(socket.SHUT_WR)
        text = b""
        while part := s.recv(4096):
            text += part
        print(text.decode())
if sys.argv[1] == "asyncio":
    asyncio.run(main(sys.argv[2], 80))
else:
    plain(sys.argv[2], 80)
`

func TestCapturePython(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.Greets("hello"))
	c := capture(t, host, harness.Cluster("backend", harness.To(backend.Addr)))
	for _, style := range []string{"plain", "asyncio"} {
		for _, ip := range []string{"10.99.0.1", "fd00:99::1", "::ffff:10.99.0.1"} {
			t.Run(style+" "+ip, func(t *testing.T) {
				wantOK(t, c.app.Python(pythonClient, style, ip), ip+" 80\nhello there")
			})
		}
	}
}

func TestCaptureCurl(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	host := harness.NewHost(t)
	v4, v6 := host.HTTPBackend("four", "127.0.0.1:0"), host.HTTPBackend("six", "[::1]:0")
	group := harness.NewCgroup(t)
	host.StartWeir(harness.WeirOptions{Config: shop(host, v4, v6), Capture: []*harness.Cgroup{group}})
	app := host.App().In(group)
	for _, tc := range []struct{ url, ip, body string }{
		{"http://10.99.0.1/", "10.99.0.1", "four"},
		{"http://[fd00:99::1]/", "fd00:99::1", "six"},
		{"http://[::ffff:10.99.0.1]/", "::ffff:10.99.0.1", "four"},
	} {
		t.Run(tc.url, func(t *testing.T) {
			wantOK(t, app.Curl("-w", "%{remote_ip} %{remote_port}", tc.url), tc.body+"\n"+tc.ip+" 80")
		})
	}
}

// An early accept must not make a refused upstream look like one that accepted and hung up.
func TestRefusedUpstreamIsReset(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	c := capture(t, host, harness.Cluster("backend", harness.To(host.RefusingAddr("127.0.0.1"))))
	for _, to := range []string{"10.99.0.1:80", "[fd00:99::1]:80"} {
		got := c.app.Connect(harness.Connect{To: to})
		if got.Failed != "ECONNREFUSED" && got.End != "ECONNRESET" {
			t.Errorf("%s: a refused upstream looks like %+v", to, got)
		}
	}
	c.weir.AwaitStat("cluster.backend.upstream_cx_connect_fail", func(n int) bool { return n >= 2 })
}

func TestHalfClose(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", harness.EchoAtEnd)
	c := capture(t, host, harness.Cluster("backend", harness.To(backend.Addr)))
	text := strings.Repeat("x", 50_000)
	got := c.app.Connect(harness.Connect{To: "10.99.0.1:80", Send: text, HalfClose: true})
	if want := `you said "` + text + `"`; got.Received != want || got.End != "eof" {
		t.Errorf("got %d bytes, then %s; want %d, then eof", len(got.Received), got.End, len(want))
	}
}

// The upstream's reset must not turn into a clean end: the application could take a part for the whole.
func TestUpstreamResetIsReset(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.TCPBackend("127.0.0.1:0", func(conn *net.TCPConn) {
		buf := make([]byte, 1)
		if _, err := conn.Read(buf); err == nil {
			_ = conn.SetLinger(0) // closing resets
		}
	})
	c := capture(t, host, harness.Cluster("backend", harness.To(backend.Addr)))
	if got := c.app.Connect(harness.Connect{To: "10.99.0.1:80", Send: "x"}); got.End != "ECONNRESET" {
		t.Errorf("a reset arrives as %+v", got)
	}
}

// passthrough is a bootstrap that captures everything and sends it where it was going.
func passthrough() string {
	return harness.Bootstrap{
		Listeners: []string{harness.Listener{
			Name: "outbound", Address: "127.0.0.1:15001", OriginalDst: true, Chains: []string{harness.Chain(harness.TCP("passthrough"))},
		}.YAML()},
		Clusters: []string{harness.OriginalDstCluster("passthrough")},
	}.YAML()
}

func TestPassthrough(t *testing.T) {
	t.Parallel()
	harness.NeedInterception(t)
	for _, tc := range []struct {
		name string
		// weir's cgroup, given that of the application, which is captured.
		weirIn func(*testing.T, *harness.Cgroup) *harness.Cgroup
	}{
		{"weir outside", func(*testing.T, *harness.Cgroup) *harness.Cgroup { return nil }},
		{"weir in the captured cgroup", func(_ *testing.T, c *harness.Cgroup) *harness.Cgroup { return c }},
		{"weir below the captured cgroup", func(t *testing.T, c *harness.Cgroup) *harness.Cgroup { return c.Child(t, "weir") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t).AddAddress("10.50.0.1", "fd00:50::1")
			v4 := host.TCPBackend("10.50.0.1:7000", harness.Greets("four"))
			v6 := host.TCPBackend("[fd00:50::1]:7000", harness.Greets("six"))
			group := harness.NewCgroup(t)
			weir := host.StartWeir(harness.WeirOptions{Config: passthrough(), Capture: []*harness.Cgroup{group}, In: tc.weirIn(t, group)})
			app := host.App().In(group)
			for _, c := range []struct {
				to, want string
				mapped   bool
				backend  *harness.TCPBackend
			}{{"10.50.0.1:7000", "four", false, v4}, {"[fd00:50::1]:7000", "six", false, v6}, {"10.50.0.1:7000", "four", true, v4}} {
				before := c.backend.Accepted()
				got := app.Connect(harness.Connect{To: c.to, Mapped: c.mapped, HalfClose: true})
				if got.Received != c.want || got.End != "eof" || c.backend.Accepted() != before+1 {
					t.Errorf("%s (mapped: %t): %+v; the backend got %d connections", c.to, c.mapped, got, c.backend.Accepted()-before)
				}
			}
			if n := weir.Stat("cluster.passthrough.upstream_cx_total"); n != 3 {
				t.Errorf("weir made %d connections for 3", n)
			}
			if got := app.Connect(harness.Connect{To: "10.50.0.1:7001"}); got.Failed == "" && got.End != "ECONNRESET" {
				t.Errorf("a refused destination looks like %+v", got)
			}
		})
	}
}
