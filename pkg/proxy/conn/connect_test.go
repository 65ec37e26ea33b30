package conn_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// TestPortsAreShared makes more connections than there are ports, to different destinations.
func TestPortsAreShared(t *testing.T) {
	in := conntest.Namespace(t, true)
	const destinations = 8
	listeners := make([]net.Listener, destinations)
	if err := in.Inside(func() (err error) {
		// The file is that of the calling thread's namespace.
		if err = os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40001"), 0); err != nil {
			return err
		}
		for i := range listeners {
			if listeners[i], err = net.Listen("tcp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}), 80).String()); err != nil {
				return err
			}
			t.Cleanup(func() { listeners[i].Close() })
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	dialer := conn.Dialer{Poller: conntest.Poller(t)}
	for _, l := range listeners {
		c, err := dialer.DialFrom(t.Context(), streaminfo.Origin{Namespace: in}, conn.AddrPort(l.Addr()))
		if err != nil {
			t.Fatalf("connect to %s: %v", l.Addr(), err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// silent listens on an address that does not answer, since its queue is full, until connections are taken.
func silent(t *testing.T) (fd int, addr netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return fd, addr
}

func TestDialEndsWithItsContext(t *testing.T) {
	_, addr := silent(t)
	dialer := conn.Dialer{Poller: conntest.Poller(t)}
	for name, limit := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 20*time.Millisecond)
		},
	} {
		ctx, cancel := limit(t.Context())
		defer cancel()
		_, err := dialer.Dial(ctx, addr)
		if !errors.Is(err, ctx.Err()) || ctx.Err() == nil {
			t.Errorf("%s: error %v, want %v", name, err, ctx.Err())
		}
		if net, ok := errors.AsType[net.Error](err); name == "deadline" && (!ok || !net.Timeout()) {
			t.Errorf("%s: %v is no timeout", name, err)
		}
	}
}

// TestDialWaits connects to what answers only after a while.
func TestDialWaits(t *testing.T) {
	fd, addr := silent(t)
	dialer := conn.Dialer{Poller: conntest.Poller(t)}
	time.AfterFunc(20*time.Millisecond, func() {
		if c, _, err := unix.Accept(fd); err == nil {
			unix.Close(c)
		}
	})
	c, err := dialer.Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(accepted)
	if _, err := unix.Write(accepted, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" || c.Remote() != addr || !c.Local().IsValid() {
		t.Errorf("%s -> %s: read %q, %v", c.Local(), c.Remote(), buf[:n], err)
	}
}

// TestDialOfNobody finds out, in a namespace with one port, that the only listener would be the connection itself.
func TestDialOfNobody(t *testing.T) {
	in := conntest.Namespace(t, true)
	if err := in.Inside(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40000"), 0)
	}); err != nil {
		t.Fatal(err)
	}
	dialer := conn.Dialer{Poller: conntest.Poller(t)}
	c, err := dialer.DialFrom(t.Context(), streaminfo.Origin{Namespace: in}, netip.MustParseAddrPort("127.0.0.1:40000"))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, %v; want ECONNREFUSED", c, err)
	}
}
