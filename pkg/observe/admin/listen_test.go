package admin

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
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
	options := []SocketOption{
		{Level: unix.SOL_SOCKET, Name: unix.SO_REUSEPORT, Int: 1},
		{Level: unix.SOL_SOCKET, Name: unix.SO_KEEPALIVE, Bytes: []byte{1, 0, 0, 0}, Late: true},
	}
	for name, edit := range map[string]func(*Options){
		"TCP":  func(o *Options) { o.Address = netip.MustParseAddrPort("127.0.0.1:0") },
		"IPv6": func(o *Options) { o.Address = netip.MustParseAddrPort("[::1]:0") },
		"pipe": func(o *Options) { o.Pipe = filepath.Join(t.TempDir(), "s"); o.SocketOptions = options[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, newFake(t), func(o *Options) { o.SocketOptions = options; edit(o) })
			if name != "pipe" && option(t, s.listener, unix.SOL_SOCKET, unix.SO_REUSEPORT) != 1 {
				t.Error("the early option was not set")
			}
			if option(t, s.listener, unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 1 {
				t.Error("the late option was not set")
			}
		})
	}
	for _, late := range []bool{false, true} {
		err := tryPipe(t, func(o *Options) { o.SocketOptions = []SocketOption{{Level: 77, Name: 5, Late: late}} })
		if err == nil || !strings.Contains(err.Error(), "set socket option 5 of level 77: ") {
			t.Errorf("late %t: %v", late, err)
		}
	}
}
