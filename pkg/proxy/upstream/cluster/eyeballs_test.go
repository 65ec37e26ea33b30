package cluster

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// refusing is an address that nobody listens at.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	_ = l.Close()
	return addr
}

// silent is an address that does not answer: a socket whose backlog is full.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	for range 16 {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the backlog does not fill")
	return addr
}

func TestAdditionalAddresses(t *testing.T) {
	b := plainBackend(t, nil)
	for _, tc := range []struct {
		name  string
		addrs []netip.AddrPort
		ok    bool
	}{
		{"the first answers", []netip.AddrPort{b.addr, refusing(t)}, true},
		{"the first refuses", []netip.AddrPort{refusing(t), b.addr}, true},
		{"the first is silent", []netip.AddrPort{silent(t), b.addr}, true},
		{"two refuse", []netip.AddrPort{refusing(t), refusing(t), b.addr}, true},
		{"all refuse", []netip.AddrPort{refusing(t), refusing(t)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			cfg := static("c", tc.addrs[0])
			cfg.Inline.Localities[0].Endpoints[0].AdditionalAddresses = tc.addrs[1:]
			h.Apply(snapshot(cfg))
			body, err := h.get(h.Get("c"))
			if tc.ok != (err == nil) || tc.ok && body != b.addr.String() {
				t.Fatalf("got %q, %v", body, err)
			}
		})
	}
}

// TestAdditionalAddressesChange checks that an update of the other addresses reaches an endpoint that stays.
func TestAdditionalAddressesChange(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	first := refusing(t)
	h.Apply(snapshot(static("c", first)))
	if _, err := h.get(h.Get("c")); err == nil {
		t.Fatal("there is nobody to answer")
	}
	cfg := static("c", first)
	cfg.Inline.Localities[0].Endpoints[0] = &model.Endpoint{Address: first, Weight: 1, AdditionalAddresses: []netip.AddrPort{b.addr}}
	h.Apply(snapshot(cfg))
	if got := h.mustGet("c"); got != b.addr.String() {
		t.Fatalf("got %q", got)
	}
}
