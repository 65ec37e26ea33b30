package admin

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// option reads an integer option of the listening socket.
func option(t *testing.T, l net.Listener, level, name int) int {
	t.Helper()
	c, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	if err := withSocket(c, func(fd int) (err error) { value, err = unix.GetsockoptInt(fd, level, name); return err }); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSocketOptions(t *testing.T) {
	set := func(fd int, late bool) error {
		if late {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 10_000)
	}
	for name, edit := range map[string]func(*Options){
		"TCP":  func(o *Options) { o.Address = netip.MustParseAddrPort("127.0.0.1:0") },
		"IPv6": func(o *Options) { o.Address = netip.MustParseAddrPort("[::1]:0") },
		"pipe": func(o *Options) { o.Pipe = filepath.Join(t.TempDir(), "s") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, newFake(t), func(o *Options) { o.SetSocketOptions = set; edit(o) })
			if n := option(t, s.listener, unix.SOL_SOCKET, unix.SO_RCVBUF); n != 20_000 { // the kernel doubles it
				t.Errorf("the early option is %d", n)
			}
			if option(t, s.listener, unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 1 {
				t.Error("the late option was not set")
			}
		})
	}
	for _, at := range []bool{false, true} {
		err := tryPipe(t, func(o *Options) {
			o.SetSocketOptions = func(_ int, late bool) error {
				if late == at {
					return unix.ENOPROTOOPT
				}
				return nil
			}
		})
		if !errors.Is(err, unix.ENOPROTOOPT) {
			t.Errorf("late %t: %v", at, err)
		}
	}
}
