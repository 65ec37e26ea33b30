// Package conntest helps tests that need connections.
//
// It owns pollers for the length of a test. It must not know what the connections are for.
package conntest

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// Poller starts a poller that is closed at the end of the test, after what the test cleans up later than this call.
func Poller(t testing.TB) *conn.Poller {
	t.Helper()
	p, err := conn.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close poller: %v", err)
		}
	})
	return p
}

// Adopt takes over nc with a poller of its own.
func Adopt(t testing.TB, nc net.Conn) *conn.Conn {
	t.Helper()
	return AdoptCounted(t, nc, nil, nil)
}

// AdoptCounted is Adopt with counters of the wire's bytes.
func AdoptCounted(t testing.TB, nc net.Conn, rx, tx *atomic.Uint64) *conn.Conn {
	t.Helper()
	c, err := Poller(t).Adopt(nc, rx, tx)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Sockets gives the two ends of a connection over loopback. Both are closed at the end of the test, if nobody has done it before.
func Sockets(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// Pair is Sockets with the server's end taken over by a poller of its own, and closed at the end of the test.
func Pair(t testing.TB) (c *conn.Conn, peer *net.TCPConn) {
	t.Helper()
	peer, nc := Sockets(t)
	c = Adopt(t, nc)
	t.Cleanup(func() { c.Close() })
	return c, peer
}
