package listener

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/test/await"
	"github.com/weir-proxy/weir/test/leak"
)

// byNamespace knows the original destinations of the clients in each network namespace.
type byNamespace map[uint64]string

func (b byNamespace) OriginalDst(netns uint64, _, _ netip.AddrPort) (netip.AddrPort, streaminfo.Cgroup, bool) {
	dst, err := netip.ParseAddrPort(b[netns])
	return dst, streaminfo.Cgroup{}, err == nil
}

// dialIn connects inside a namespace.
func dialIn(t *testing.T, in *streaminfo.Namespace, addr netip.AddrPort) net.Conn {
	t.Helper()
	var c net.Conn
	if err := in.Inside(func() (err error) {
		c, err = net.Dial("tcp", addr.String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// TestCaptureInNamespaces opens capture sockets in two namespaces and in weir's own; who connects is told apart by where.
func TestCaptureInNamespaces(t *testing.T) {
	one, two := conntest.Namespace(t, true), conntest.Namespace(t, true)
	known := byNamespace{0: "10.0.0.9:80", one.Cookie: "10.0.0.1:80", two.Cookie: "[fd00::2]:80"}
	b := newBed(t, func(o *Options) { o.OriginalDst = known })
	l := bound("all", "127.0.0.1:0", plainChain("all", model.FilterChainMatch{}))
	l.BindToPort, l.UseOriginalDst = false, true
	b.mustApply(l)
	if err := b.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*streaminfo.Namespace{one, two} {
		addrs, err := b.OpenCaptureIn(in)
		if err != nil || len(addrs) != 2 || addrs[0].Addr().String() != "127.0.0.1" || addrs[1].Addr() != netip.IPv6Loopback() {
			t.Fatalf("opened %v, %v", addrs, err)
		}
		again, err := b.OpenCaptureIn(in)
		if diff := cmp.Diff(addrs, again, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("opened again: %v, %s", err, diff)
		}
		own := b.SelfIn(in)
		if !own(addrs[0]) || !own(netip.AddrPortFrom(netip.IPv4Unspecified(), addrs[0].Port())) || own(netip.MustParseAddrPort("127.0.0.1:1")) {
			t.Error("SelfIn does not know the capture sockets, or others too")
		}
		for _, addr := range addrs {
			if got, want := line(t, dialIn(t, in, addr)), "all all "+known[in.Cookie]; got != want {
				t.Errorf("at %s: %q, want %q", addr, got, want)
			}
		}
	}
	v4, _ := b.CaptureAddrs()
	if got, want := line(t, dial(t, v4.String())), "all all 10.0.0.9:80"; got != want {
		t.Errorf("in weir's own namespace: %q, want %q", got, want)
	}
}

// TestCloseCaptureIn ends one namespace's connections and leaves those of others alone.
func TestCloseCaptureIn(t *testing.T) {
	one, two := conntest.Namespace(t, true), conntest.Namespace(t, true)
	b := newBed(t, func(o *Options) { o.OriginalDst = byNamespace{one.Cookie: "10.0.0.1:80", two.Cookie: "10.0.0.1:80"} })
	l := bound("all", "127.0.0.1:0", plainChain("all", model.FilterChainMatch{}))
	l.BindToPort, l.UseOriginalDst = false, true
	b.mustApply(l)
	files := leak.Files(t)
	var conns []net.Conn
	var first []netip.AddrPort
	for _, in := range []*streaminfo.Namespace{one, two} {
		addrs, err := b.OpenCaptureIn(in)
		if err != nil {
			t.Fatal(err)
		}
		if in == one {
			first = addrs
		}
		c := dialIn(t, in, addrs[0])
		line(t, c)
		conns = append(conns, c)
	}
	b.CloseCaptureIn(one)
	if _, err := io.Copy(io.Discard, conns[0]); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connection of the closed namespace: %v", err)
	}
	if _, err := conns[1].Write([]byte("still here\n")); err != nil {
		t.Fatal(err)
	}
	if got := line(t, conns[1]); got != "still here" {
		t.Errorf("connection of the other namespace: %q", got)
	}
	err := one.Inside(func() error {
		_, err := net.Dial("tcp", first[0].String())
		return err
	})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connect to the closed socket: %v", err)
	}
	b.CloseCaptureIn(two)
	for _, c := range conns {
		io.Copy(io.Discard, c)
		c.Close()
	}
	await.True(t, "no more descriptors than before", func() bool { return leak.Files(t) <= files })
}

// TestCaptureInHalf opens what a namespace allows, and the rest when it allows that.
func TestCaptureInHalf(t *testing.T) {
	for _, test := range []struct {
		name       string
		up         bool
		without    string // what is switched off
		want       string
		afterwards string
	}{
		{"loopback down", false, "", "127.0.0.1", "127.0.0.1 ::1"}, // which Linux lets sockets bind nevertheless
		{"no IPv6", true, "IPv6", "127.0.0.1", "127.0.0.1 ::1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := conntest.Namespace(t, test.up)
			b := newBed(t, nil)
			toggle := func(value string) {
				if test.without == "" {
					return
				}
				if err := in.Inside(func() error {
					return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte(value), 0)
				}); err != nil {
					t.Fatal(err)
				}
			}
			toggle("1")
			addrs, err := b.OpenCaptureIn(in)
			if got := hosts(addrs); got != test.want || err == nil {
				t.Errorf("opened %q (%v), want %q and an error", got, err, test.want)
			}
			toggle("0")
			if !test.up {
				if err := in.Inside(conntest.LoopbackUp); err != nil {
					t.Fatal(err)
				}
			}
			addrs, err = b.OpenCaptureIn(in)
			if got := hosts(addrs); got != test.afterwards || err != nil {
				t.Errorf("opened %q (%v), want %q", got, err, test.afterwards)
			}
		})
	}
}

func hosts(addrs []netip.AddrPort) string {
	var names []string
	for _, a := range addrs {
		names = append(names, a.Addr().String())
	}
	return strings.Join(names, " ")
}

func TestOpenCaptureInStopped(t *testing.T) {
	b := newBed(t, nil)
	b.StopAccepting()
	if addrs, err := b.OpenCaptureIn(conntest.Namespace(t, true)); err == nil {
		t.Errorf("opened %v", addrs)
	}
}
