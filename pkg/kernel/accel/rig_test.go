package accel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/test/await"
)

// rig is an Accelerator for the test's own cgroup, and a door that the test serves itself.
type rig struct {
	*Accelerator
	door *net.TCPListener
}

// newRig starts it; with full, applications of the test are named.
func newRig(t *testing.T, o Options, full bool) *rig {
	t.Helper()
	a, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	own := kerneltest.OwnCgroup(t)
	var named []string
	if full {
		named = []string{own}
	}
	if err := a.Attach([]string{own}, named); err != nil {
		t.Fatal(err)
	}
	door, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { door.Close() })
	if err := a.SetDoors([]netip.AddrPort{addrOf(door.Addr())}); err != nil {
		t.Fatal(err)
	}
	return &rig{a, door}
}

// connect gives the two ends of a connection from port (0: any); the proxy's has been taken in.
func (r *rig) connect(t *testing.T, port int) (app, proxy *net.TCPConn, lane *Lane) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Control: reuse}
	await.Nil(t, "a connection from addresses that TIME_WAIT keeps for a second", func() error {
		nc, err := d.Dial("tcp4", r.door.Addr().String())
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			return err
		}
		noError(t, err)
		app = nc.(*net.TCPConn)
		return nil
	})
	t.Cleanup(func() { app.Close() })
	var err error
	if proxy, err = r.door.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	for _, c := range []*net.TCPConn{app, proxy} {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	var reason Reason
	control(t, proxy, func(fd int) {
		reason = r.Accelerate(fd, addrOf(proxy.LocalAddr()), addrOf(proxy.RemoteAddr()), 0, func(l *Lane) { lane = l })
	})
	if reason != Accelerated {
		t.Fatalf("not accelerated: %v", reason)
	}
	return app, proxy, lane
}

func reuse(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	return errors.Join(err, failed)
}

func control(t *testing.T, c *net.TCPConn, f func(fd int)) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// waitClosed waits until TCP is done with a socket that is still open.
func waitClosed(t *testing.T, c *net.TCPConn) {
	t.Helper()
	const tcpClose = 7
	await.Nil(t, "a closed socket", func() error {
		var info *unix.TCPInfo
		var err error
		control(t, c, func(fd int) { info, err = unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO) })
		if err == nil && info.State != tcpClose {
			err = fmt.Errorf("it is in state %d", info.State)
		}
		return err
	})
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

func mustWrite(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// mustRead reads until the end and compares.
func mustRead(t *testing.T, c *net.TCPConn, want string) {
	t.Helper()
	got, err := io.ReadAll(c)
	if string(got) != want || err != nil {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
}

func (r *rig) mustStatus(t *testing.T) Status {
	t.Helper()
	s, err := r.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
