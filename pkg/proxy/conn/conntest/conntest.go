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
