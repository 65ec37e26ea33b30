package cluster

import (
	"context"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
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

// name is the address as upstream.Host.Name prints it.
func (to *target) name() string {
	if to.pipe != "" {
		return to.pipe
	}
	return to.addr.String()
}

func (t *transports) dial(ctx context.Context, from streaminfo.Origin, to *target) (*conn.Conn, error) {
	switch {
	case to.pipe != "":
		return t.dialer.DialPipe(ctx, to.pipe)
	case len(to.others) > 0:
		return t.race(ctx, from, inTurn(append([]netip.AddrPort{to.addr}, to.others...), t.eyeballs))
	}
	return t.dialAddr(ctx, from, to.addr)
}

// dialAddr connects from the source address that is meant for the family.
func (t *transports) dialAddr(ctx context.Context, from streaminfo.Origin, addr netip.AddrPort) (*conn.Conn, error) {
	if t.other != nil && addr.Addr().Unmap().Is4() == t.other.Bind.Addr().Is4() {
		return t.other.DialFrom(ctx, from, addr)
	}
	return t.dialer.DialFrom(ctx, from, addr)
}

// inTurn orders addresses as they are tried (RFC 8305, section 4): some of the first family, then the families in turn. Within
// a family their order stays.
func inTurn(addrs []netip.AddrPort, o model.HappyEyeballs) []netip.AddrPort {
	first4 := addrs[0].Addr().Unmap().Is4()
	switch o.First {
	case model.FirstV4:
		first4 = true
	case model.FirstV6:
		first4 = false
	}
	var first, second []netip.AddrPort
	for _, a := range addrs {
		if a.Addr().Unmap().Is4() == first4 {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	n := min(max(1, o.FirstCount), len(first))
	out := append(make([]netip.AddrPort, 0, len(addrs)), first[:n]...)
	first = first[n:]
	for len(first) > 0 || len(second) > 0 {
		if len(second) > 0 {
			out, second = append(out, second[0]), second[1:]
		}
		if len(first) > 0 {
			out, first = append(out, first[0]), first[1:]
		}
	}
	return out
}

// dialed is how an attempt of a race ended.
type dialed struct {
	conn *conn.Conn
	err  error
}

// try connects to one address. It makes an error of a panic.
func (t *transports) try(ctx context.Context, from streaminfo.Origin, addr netip.AddrPort) (d dialed) {
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			d = dialed{err: bad}
		}
	}()
	d.conn, d.err = t.dialAddr(ctx, from, addr)
	return d
}

// race connects to the addresses in order, each beside its predecessors once those had their time or failed, and takes the
// first connection. The error is the first one.
func (t *transports) race(ctx context.Context, from streaminfo.Origin, addrs []netip.AddrPort) (*conn.Conn, error) {
	conn.Waits(ctx)
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan dialed, len(addrs))
	started, running := 0, 0
	attempt := func() {
		addr := addrs[started]
		started++
		running++
		go func() {
			results <- t.try(ctx, from, addr)
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
