package listener

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// sources knows the source addresses for destinations in a namespace, and counts who asks.
type sources struct {
	mu    sync.Mutex
	known map[string]string
	asked []string
}

func (s *sources) find(in *streaminfo.Namespace, dst netip.AddrPort, now time.Time) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := dst.String()
	if in != nil {
		key += " in " + in.Name
	}
	s.asked = append(s.asked, key)
	src, err := netip.ParseAddr(s.known[key])
	return src, err == nil && !now.IsZero()
}

// TestCapturedClient looks what the client of a captured connection is taken for, and that the socket's own peer is still known.
func TestCapturedClient(t *testing.T) {
	in := conntest.Namespace(t, true)
	for _, tc := range []struct {
		name, dst, bound string
		v6, inside       bool
		want             string // "" for the socket's peer
		asked            int
	}{
		{name: "route", dst: "10.99.0.1:80", want: "192.0.2.1", asked: 1},
		{name: "no route", dst: "10.99.0.2:80", asked: 1},
		{name: "IPv6", dst: "[fd00:99::1]:80", v6: true, want: "2001:db8::1", asked: 1},
		{name: "namespace", dst: "10.99.0.1:80", inside: true, want: "192.0.2.2", asked: 1},
		{name: "to loopback", dst: "127.0.0.9:80"},
		{name: "to IPv6 loopback", dst: "[::1]:80", v6: true},
		{name: "to nowhere", dst: "0.0.0.0:80"},
		{name: "bound", dst: "10.99.0.1:80", bound: "127.0.0.2:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &sources{known: map[string]string{
				"10.99.0.1:80": "192.0.2.1", "[fd00:99::1]:80": "2001:db8::1", "10.99.0.1:80 in " + in.Name: "192.0.2.2", "127.0.0.9:80": "192.0.2.3",
			}}
			seen := make(chan [2]netip.AddrPort, 1)
			b := newBed(t, func(o *Options) {
				o.SourceAddr = s.find
				o.AccessLog = func(_ *model.Listener, info *streaminfo.Info) {
					seen <- [2]netip.AddrPort{info.Conn.Remote, info.Conn.DirectRemote}
				}
			})
			b.dst.set(tc.dst)
			l := bound("all", "127.0.0.1:0", plainChain("all", model.FilterChainMatch{}))
			l.BindToPort, l.UseOriginalDst, l.AccessLogs = false, true, []*model.AccessLog{{}}
			b.mustApply(l)
			c := dialCapture(t, b, in, tc.inside, tc.v6, tc.bound)
			line(t, c)
			peer := c.LocalAddr().(*net.TCPAddr).AddrPort()
			if live := b.Live(10); len(live) != 1 || live[0].Client != peer {
				t.Errorf("the client's socket is listed as %+v, want %s", live, peer)
			}
			c.Close()
			want := peer
			if tc.want != "" {
				want = netip.AddrPortFrom(netip.MustParseAddr(tc.want), peer.Port())
			}
			if got := <-seen; got != [2]netip.AddrPort{want, want} {
				t.Errorf("taken for %s, want %s", got, want)
			}
			if len(s.asked) != tc.asked {
				t.Errorf("asked %q", s.asked)
			}
		})
	}
}

// dialCapture opens capture sockets, in the namespace or in the own one, and connects to one of them.
func dialCapture(t *testing.T, b *bed, in *streaminfo.Namespace, inside, v6 bool, bound string) net.Conn {
	t.Helper()
	if inside {
		addrs, err := b.OpenCaptureIn(in)
		if err != nil {
			t.Fatal(err)
		}
		return dialIn(t, in, addrs[0])
	}
	if err := b.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	addr, addr6 := b.CaptureAddrs()
	if v6 {
		addr = addr6
	}
	var d net.Dialer
	if bound != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(bound))
	}
	c, err := d.DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}
