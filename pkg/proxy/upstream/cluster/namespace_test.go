package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// namesake is a server at an address that exists in each namespace; it names the namespace that it is in.
func namesake(t *testing.T, in *streaminfo.Namespace, addr netip.AddrPort) *backend {
	t.Helper()
	var l net.Listener
	if err := in.Inside(func() (err error) {
		l, err = net.Listen("tcp", addr.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: addr}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, in.Cookie) }))
	b.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			b.conns.Add(1)
			b.open.Add(1)
		case http.StateClosed:
			b.open.Add(-1)
		}
	}
	b.Listener.Close()
	b.Listener = l
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetHTTP1(true)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// streamFrom is stream for a request from a namespace.
func (h *harness) streamFrom(c *Cluster, in *streaminfo.Namespace) (codec.ClientStream, error) {
	origin := streaminfo.Origin{Namespace: in}
	host, err := c.Pick(&upstream.PickContext{OriginalDst: netip.MustParseAddrPort("127.0.0.1:80"), Origin: origin})
	if err != nil {
		return nil, err
	}
	opt := &StreamOptions{Origin: origin}
	if s := c.Reuse(host, message.HTTP11, opt); s != nil {
		return s, nil
	}
	return c.Connect(h.t.Context(), host, message.HTTP11, opt)
}

// TestNamespaces has two namespaces with a server each at the same address: each is reached from its own only, on a connection of
// its own, also when the cluster goes to the original destination.
func TestNamespaces(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:80")
	original := static("web")
	original.Inline, original.Type, original.LB, original.CleanupInterval = nil, model.ClusterOriginalDst, model.LBClusterProvided, 1<<40
	http2 := static("web", addr)
	http2.HTTP.Protocol = model.UpstreamHTTP2
	for name, cfg := range map[string]*model.Cluster{"static": static("web", addr), "original_dst": original, "http2": http2} {
		t.Run(name, func(t *testing.T) {
			one, two := conntest.Namespace(t, true), conntest.Namespace(t, true)
			servers := map[*streaminfo.Namespace]*backend{one: namesake(t, one, addr), two: namesake(t, two, addr)}
			h := newHarness(t)
			h.Apply(snapshot(cfg))
			for range 3 {
				for in := range servers {
					s, err := h.streamFrom(h.Get("web"), in)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := exchange(s); err != nil || got != fmt.Sprint(in.Cookie) {
						t.Errorf("answer %q (%v) in namespace %d", got, err, in.Cookie)
					}
				}
			}
			for in, b := range servers {
				if n := b.conns.Load(); n != 1 {
					t.Errorf("%d connections in namespace %d, want 1", n, in.Cookie)
				}
			}
			h.Vacate(one)
			await.True(t, "the connection of the vacated namespace to close", func() bool { return servers[one].open.Load() == 0 })
			if servers[two].open.Load() != 1 {
				t.Error("the other namespace has lost its connection")
			}
			s, err := h.streamFrom(h.Get("web"), one)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := exchange(s); err != nil {
				t.Error(err)
			}
			await.True(t, "nothing to stay behind in the vacated namespace", func() bool { return servers[one].open.Load() == 0 })
		})
	}
}

// TestNamespaceTCP makes a connection for a TCP proxy, and one that races addresses.
func TestNamespaceTCP(t *testing.T) {
	in := conntest.Namespace(t, true)
	addr := netip.MustParseAddrPort("[::1]:80")
	namesake(t, in, addr)
	h := newHarness(t)
	racing := static("racing", netip.MustParseAddrPort("127.0.0.1:1"))
	racing.Inline.Localities[0].Endpoints[0].AdditionalAddresses = []netip.AddrPort{addr}
	h.Apply(snapshot(static("plain", addr), racing))
	for _, name := range []string{"plain", "racing"} {
		lease, err := h.Get(name).Dial(t.Context(), &upstream.PickContext{Origin: streaminfo.Origin{Namespace: in}})
		if err != nil {
			t.Fatal(name, err)
		}
		if got := lease.Info.Remote; got != addr {
			t.Errorf("%s is connected to %s", name, got)
		}
		lease.Close()
	}
	if _, err := h.Get("plain").Dial(t.Context(), &upstream.PickContext{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("outside of the namespace: %v", err)
	}
}

// TestNamespaceSelf is about weir's own addresses: those of one namespace mean nothing in another.
func TestNamespaceSelf(t *testing.T) {
	in := conntest.Namespace(t, true)
	here, there := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:81")
	in.Own = func(a netip.AddrPort) bool { return a == there }
	namesake(t, in, here)
	original := static("original")
	original.Inline, original.Type, original.LB, original.CleanupInterval = nil, model.ClusterOriginalDst, model.LBClusterProvided, 1<<40
	h := newHarness(t, func(o *Options) { o.Self = func(a netip.AddrPort) bool { return a == here } })
	h.Apply(snapshot(original, static("here", here), static("there", there)))
	for _, test := range []struct {
		cluster  string
		in       *streaminfo.Namespace
		dst      netip.AddrPort
		isItself bool
	}{
		{"here", nil, netip.AddrPort{}, true},
		{"here", in, netip.AddrPort{}, false},
		{"there", in, netip.AddrPort{}, true},
		{"original", nil, here, true},
		{"original", in, here, false},
		{"original", in, there, true},
	} {
		pc := &upstream.PickContext{OriginalDst: test.dst, Origin: streaminfo.Origin{Namespace: test.in}}
		lease, err := h.Get(test.cluster).Dial(t.Context(), pc)
		if isKind(err, upstream.KindSelf) != test.isItself || !test.isItself && err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		if err == nil {
			lease.Close()
		}
	}
}

// TestNamespaceGone has nothing but an error to give once a namespace cannot be entered.
func TestNamespaceGone(t *testing.T) {
	gone := &streaminfo.Namespace{Name: "gone", Inside: func(func() error) error { return os.ErrClosed }}
	h := newHarness(t)
	h.Apply(snapshot(static("web", netip.MustParseAddrPort("127.0.0.1:80"))))
	_, err := h.Get("web").Dial(t.Context(), &upstream.PickContext{Origin: streaminfo.Origin{Namespace: gone}})
	if !isKind(err, upstream.KindConnect) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// TestMarkInNamespace marks the socket that is used, not the one that it replaced.
func TestMarkInNamespace(t *testing.T) {
	in := conntest.Namespace(t, true)
	addr := netip.MustParseAddrPort("127.0.0.1:80")
	namesake(t, in, addr)
	h := newHarness(t, func(o *Options) { o.Mark = 0x77 })
	h.Apply(snapshot(static("web", addr)))
	lease, err := h.Get("web").Dial(t.Context(), &upstream.PickContext{Origin: streaminfo.Origin{Namespace: in}})
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Close()
	if err := lease.Conn.(interface{ Control(func(int) error) error }).Control(func(fd int) error {
		mark, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
		nodelay, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
		if mark != 0x77 || nodelay != 1 {
			t.Errorf("mark %#x, TCP_NODELAY %d", mark, nodelay)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}
