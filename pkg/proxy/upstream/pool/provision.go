package pool

import (
	"context"
	"errors"
	"math"

	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// maxAtOnce bounds the connections that one event has made ahead of requests. With ratios of at most 3 (Envoy's bound) no
// more are wanted in a steady state, and after a failure they are to come little by little.
const maxAtOnce = 3

// provision has connections made until there are enough for the requests that wait, and for those that the ratio says to
// expect. The caller holds mu.
func (p *Pool) provision() {
	if p.ratio == 1 && len(p.waiters) == 0 {
		return
	}
	for ahead := 0; ahead < maxAtOnce; {
		have := p.room()
		if !p.wants(have, p.ratio, 0) {
			return
		}
		if len(p.waiters) <= have {
			ahead++
		}
		if !p.dialOne() {
			return
		}
	}
}

// wants tells whether requests outnumber what there is room for: those that wait, those under way, and coming ones, times
// the ratio.
func (p *Pool) wants(room int, ratio float64, coming int) bool {
	if ratio <= 1 {
		return len(p.waiters)+coming > room
	}
	active := 0
	for c := range p.all {
		active += c.active
	}
	return float64(len(p.waiters)+active+coming)*ratio > float64(room+active)
}

// room is how many more exchanges there are places for, on open connections and on those that are being made, as far as
// that is known.
func (p *Pool) room() int {
	l := p.limits()
	n := len(p.idle) + p.dialing*p.streamsOfNew(l)
	limit := p.streamLimit()
	for _, c := range p.shared {
		if !c.draining && !c.dead.Load() && c.active < limit && c.h2.CanTake() && c.underLimits(l) {
			n += fewer(limit-c.active, l.MaxRequests-c.requests, l.MaxRequests > 0)
		}
	}
	return n
}

// fewer is the smaller of two numbers, the second of which may not count.
func fewer(n, other int, counts bool) int {
	if counts {
		return min(n, other)
	}
	return n
}

// streamsOfNew is how many exchanges a connection that is being made will carry: one, unless it is known to be HTTP/2.
func (p *Pool) streamsOfNew(l *Limits) int {
	if protocol(p.learnt.Load()) == http2 {
		return fewer(p.streamLimit(), l.MaxRequests, l.MaxRequests > 0)
	}
	return 1
}

// streamLimit is how many streams an HTTP/2 connection is taken for: as many as are configured.
func (p *Pool) streamLimit() int {
	if n := p.host.http.HTTP2.MaxConcurrentStreams; n > 0 {
		return int(min(n, math.MaxInt32))
	}
	return math.MaxInt32 // Envoy's default of max_concurrent_streams
}

// dialOne starts making a connection, unless the circuit breaker or the limit of the host forbids it. As in Envoy a pool
// may always have one connection, whatever the limit. The caller holds mu.
func (p *Pool) dialOne() bool {
	shared := p.host.shared
	connections := shared.Connections[p.key.priority]
	full := p.host.stats.CxActive.Load() >= int64(p.limits().PerHost[p.key.priority])
	if full || !connections.Try() {
		shared.Stats.CxOverflow.Inc()
		if len(p.all)+p.dialing > 0 {
			return false
		}
		connections.Force()
	}
	p.dialing++
	m := newMeter(p.host, p.key.priority)
	if p.key.protocol != auto { // else the handshake tells
		p.countProtocol(p.key.protocol)
	}
	if !shared.Runtime.spawn(func(ctx context.Context) { p.dial(ctx, m) }) {
		p.dialing--
		m.end(false, false)
		p.failAll(&upstream.Error{Kind: upstream.KindAborted, BeforeResponse: true, Err: errClosed})
		return false
	}
	return true
}

// countProtocol counts a connection by its protocol, as in Envoy also one that then fails.
func (p *Pool) countProtocol(proto protocol) {
	if s := p.host.shared.Stats; proto == http1 {
		s.CxHTTP1Total.Inc()
	} else {
		s.CxHTTP2Total.Inc()
	}
}

var errClosed = errors.New("the process closes its connections")

// failAll tells every waiter the same. The caller holds mu.
func (p *Pool) failAll(err *upstream.Error) {
	for p.give(wake{err: err}) {
	}
}

// establish makes a connection. It makes an error of a panic, which the requests that wait for the connection end with.
func (p *Pool) establish(ctx context.Context, m *meter) (c *conn, err error) {
	var raw Raw
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			if raw.Conn != nil {
				_ = raw.Conn.Close()
			}
			c, err = nil, bad
		}
	}()
	raw, err = dial(ctx, p.host, p.key.origin, p.key.sni, p.alpn(), m)
	if err != nil {
		return nil, err
	}
	return p.open(raw, m)
}

// dial makes a connection and gives it to those who wait.
func (p *Pool) dial(ctx context.Context, m *meter) {
	c, err := p.establish(ctx, m)
	if err != nil {
		failure := connectFailure(err)
		// Counted out before anybody learns of it, so that who tries again finds its place free.
		m.end(failure.Kind == upstream.KindConnect, false)
		p.mu.Lock()
		p.dialing--
		p.failAll(failure)
		p.armIfIdle()
		p.mu.Unlock()
		return
	}
	p.host.shared.Runtime.add(c)
	p.mu.Lock()
	p.dialing--
	p.all[c] = struct{}{}
	unused := p.welcome(c)
	p.armIfIdle()
	p.mu.Unlock()
	if unused {
		c.close(false, false)
	}
}

// welcome gives the waiters what a new connection has room for. It tells whether nobody wants it and none is to be kept.
// The caller holds mu.
func (p *Pool) welcome(c *conn) (unused bool) {
	if c.h2 != nil {
		p.shared = append(p.shared, c)
		for len(p.waiters) > 0 && c.h2.CanTake() && c.underLimits(p.limits()) && c.active < p.streamLimit() {
			c.active++
			c.requests++
			p.give(wake{conn: c, fresh: true})
		}
		c.draining = p.retired
		c.idleAt = p.now()
		unused = p.retired && c.active == 0
	} else if len(p.waiters) > 0 {
		c.active, c.requests = 1, 1
		p.give(wake{conn: c, fresh: true})
	} else if unused = p.retired; !unused {
		c.idleAt = p.now()
		p.idle = append(p.idle, c)
	}
	// It may turn out to carry fewer than it was taken for.
	p.provision()
	return unused
}

// connectFailure is err as every caller of a failed dial may have it.
func connectFailure(err error) *upstream.Error {
	if e, ok := errors.AsType[*upstream.Error](err); ok {
		return e
	}
	return &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Err: err}
}
