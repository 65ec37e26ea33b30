package cluster

import (
	"context"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// attemptDelay is how long an address of an endpoint has before the next one is tried beside it (Envoy docs, "Happy
// Eyeballs").
const attemptDelay = 300 * time.Millisecond

// target is where the connections of an endpoint go: an address, those to try beside it, or a unix socket.
type target struct {
	addr   netip.AddrPort
	others []netip.AddrPort
	pipe   string
}

func (t *transports) dial(ctx context.Context, to *target) (*conn.Conn, error) {
	switch {
	case to.pipe != "":
		return t.dialer.DialPipe(ctx, to.pipe)
	case len(to.others) > 0:
		return t.race(ctx, append([]netip.AddrPort{to.addr}, to.others...))
	}
	return t.dialer.Dial(ctx, to.addr)
}

// dialed is how an attempt of a race ended.
type dialed struct {
	conn *conn.Conn
	err  error
}

// race connects to the addresses in order, each beside its predecessors once those had their time or failed, and takes the
// first connection. The error is the first one.
func (t *transports) race(ctx context.Context, addrs []netip.AddrPort) (*conn.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan dialed, len(addrs))
	started, running := 0, 0
	attempt := func() {
		addr := addrs[started]
		started++
		running++
		go func() {
			c, err := t.dialer.Dial(ctx, addr)
			results <- dialed{c, err}
		}()
	}
	pause := time.NewTimer(attemptDelay)
	defer func() {
		pause.Stop()
		cancel()
		for ; running > 0; running-- {
			if late := <-results; late.err == nil {
				_ = late.conn.Close()
			}
		}
	}()
	var failed error
	for attempt(); ; {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, nil
			}
			if failed == nil {
				failed = r.err
			}
			if started == len(addrs) && running == 0 {
				return nil, failed
			}
		case <-pause.C:
		}
		if started < len(addrs) {
			attempt()
			pause.Reset(attemptDelay)
		}
	}
}
