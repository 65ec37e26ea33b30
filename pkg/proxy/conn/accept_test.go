package conn_test

import (
	"errors"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
)

func TestAcceptor(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		ln, err := net.Listen("tcp", network)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		a, err := conn.NewAcceptor(ln.(*net.TCPListener))
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		to := map[string]string{"127.0.0.1:0": "127.0.0.1:", "[::1]:0": "[::1]:", "[::]:0": "127.0.0.1:"}[network] + port
		for n := range 2 {
			client, err := net.Dial("tcp", to)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			accepted, err := a.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 { // it is closed, which the client sees
				accepted.Drop()
				if _, err := client.Read(make([]byte, 1)); err == nil {
					t.Error("a dropped connection is open")
				}
				continue
			}
			c, err := conntest.Poller(t).Take(accepted, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Local().String() != to || c.Remote() != conn.AddrPort(client.LocalAddr()) {
				t.Errorf("took %s -> %s, want %s -> %s", c.Remote(), c.Local(), client.LocalAddr(), to)
			}
			delay := 0
			if err := c.Control(func(fd int) (err error) {
				delay, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
				return err
			}); err != nil || delay == 0 {
				t.Errorf("TCP_NODELAY is %d, %v", delay, err)
			}
			if _, err := client.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 8)
			if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
				t.Errorf("read %q, %v", buf[:n], err)
			}
		}
		ended := make(chan error, 1)
		go func() {
			_, err := a.Accept()
			ended <- err
		}()
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
	}
}
