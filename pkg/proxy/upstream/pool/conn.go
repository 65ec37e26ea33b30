package pool

import (
	"slices"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// conn is one connection with its codec: h1 or h2 is set.
type conn struct {
	pool  *Pool
	raw   Raw
	meter *meter
	h1    Client1
	h2    Client2
	born  int64 // on the wheel's clock

	// The pool's mu guards these.
	active   int
	requests int
	idleAt   int64 // on the wheel's clock; 0: since some time after the last sweep
	draining bool  // takes no more streams, closed after the last one

	dead   atomic.Bool // HTTP/2: has ended by itself
	closed atomic.Bool
}

// fate is what is to become of a connection without requests.
type fate uint8

const (
	keep fate = iota
	goneByPeer
	idleTooLong
	tooOld
)

// alpn is what is offered when nothing else is configured.
func (p *Pool) alpn() []string {
	switch p.key.protocol {
	case http2:
		return []string{"h2"}
	case auto:
		return []string{"h2", "http/1.1"}
	}
	return []string{"http/1.1"}
}

// open gives a fresh connection its codec.
func (p *Pool) open(raw Raw, m *meter) (*conn, error) {
	shared := p.host.shared
	c := &conn{pool: p, raw: raw, meter: m, born: p.now()}
	info := codec.ConnInfo{
		ID: shared.Runtime.ids.Add(1), Local: raw.Local, Remote: raw.Remote, TLS: raw.TLS, Version: message.HTTP11,
	}
	proto := p.key.protocol
	if proto == auto {
		proto = http1
		if raw.TLS != nil && raw.TLS.NegotiatedProtocol == "h2" {
			proto = http2
		}
		p.learnt.Store(uint32(proto))
		p.countProtocol(proto)
	}
	if proto == http1 {
		c.h1 = shared.Codecs.HTTP1(raw.Conn, info, p.host.http, c.released)
		return c, nil
	}
	info.Version = message.HTTP2
	h2, err := shared.Codecs.HTTP2(raw.Conn, info, p.host.http, c.streamReleased, c.gone)
	if err != nil {
		return nil, &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Err: err}
	}
	c.h2 = h2
	return c, nil
}

// start begins the exchange that was reserved. It gives neither a stream nor an error when the connection turned out to be of
// no use. idle tells that the connection had been waiting for it. As in Envoy a request takes its place of Requests only here,
// where it has a connection; without one it fails, and the connection stays.
func (c *conn) start(idle bool) (codec.ClientStream, *upstream.Error) {
	if c.h1 != nil && idle {
		if f := c.lookIdle(); f != keep {
			c.closeFor(f)
			return nil, nil
		}
	}
	shared, priority := c.pool.host.shared, c.pool.key.priority
	if !shared.Requests[priority].Try() {
		c.undo()
		return nil, &upstream.Error{Kind: upstream.KindOverflow, BeforeResponse: true}
	}
	s, err := c.newStream()
	if err != nil {
		shared.Requests[priority].Release()
		c.useless()
		return nil, nil
	}
	c.requestStarted()
	return s, nil
}

// newStream has the codec begin an exchange.
func (c *conn) newStream() (codec.ClientStream, error) {
	if c.h1 != nil {
		return c.h1.NewStream()
	}
	return c.h2.NewStream()
}

// lookIdle is fate without the idle timeout: who is about to be used is not idle.
func (c *conn) lookIdle() fate {
	switch {
	case !c.usable():
		return goneByPeer
	case c.old(c.pool.limits()):
		return tooOld
	}
	return keep
}

// usable tells whether an idle HTTP/1 connection is still open.
func (c *conn) usable() bool { return c.h1.Usable() && (c.raw.HungUp == nil || !c.raw.HungUp()) }

// useless lets go of a connection whose codec begins no more exchanges.
func (c *conn) useless() {
	if c.h1 != nil {
		c.close(true, false)
		return
	}
	c.pool.mu.Lock()
	c.draining = true
	c.pool.mu.Unlock()
	c.undo()
}

// requestStarted counts a request that has its connection, and its place of Requests.
func (c *conn) requestStarted() {
	host := c.pool.host
	host.shared.Stats.RqTotal.Inc()
	host.stats.RqTotal.Add(1)
	host.stats.RqActive.Add(1)
	host.shared.Stats.RqActive.Inc()
}

// requestEnded counts what requestStarted has counted out, and gives the place of Requests back. It comes before the connection
// is given to the next request, which wants a place.
func (c *conn) requestEnded() {
	host := c.pool.host
	host.stats.RqActive.Add(-1)
	host.shared.Stats.RqActive.Dec()
	host.shared.Requests[c.pool.key.priority].Release()
}

// released is what the HTTP/1 codec calls at the end of an exchange.
func (c *conn) released(left codec.Fate) {
	c.requestEnded()
	if left == codec.Spent {
		c.pool.host.shared.Stats.CxCloseNotify.Inc()
	}
	c.giveBack(left)
}

// giveBack hands an HTTP/1 connection to the next who waits, keeps it, or closes it.
func (c *conn) giveBack(left codec.Fate) {
	p := c.pool
	limits := p.limits()
	p.mu.Lock()
	c.active = 0
	switch {
	case left == codec.Reusable && c.draining:
		p.mu.Unlock()
		c.close(false, false)
		return
	case left != codec.Reusable || c.closed.Load():
		p.mu.Unlock()
		c.close(left == codec.Ended || left == codec.Lost, left == codec.Cut || left == codec.Lost)
		return
	case !c.underLimits(limits):
		p.mu.Unlock()
		c.closeFor(tooOld)
		return
	}
	if len(p.waiters) > 0 {
		c.active, c.requests = 1, c.requests+1
		p.give(wake{conn: c})
		p.mu.Unlock()
		return
	}
	if p.retired {
		p.mu.Unlock()
		c.close(false, false)
		return
	}
	c.idleAt = 0
	if limits.preciseIdle {
		c.idleAt = p.now()
	}
	p.idle = append(p.idle, c)
	p.armIfIdle()
	p.mu.Unlock()
}

// undo takes back a reserved exchange that was not started.
func (c *conn) undo() {
	c.pool.mu.Lock()
	c.requests--
	c.pool.mu.Unlock()
	if c.h1 != nil {
		c.giveBack(codec.Reusable)
		return
	}
	c.streamDone()
}

// streamReleased is what the HTTP/2 codec calls at the end of a stream.
func (c *conn) streamReleased() {
	c.requestEnded()
	c.streamDone()
}

// streamDone frees the place of a stream, and closes the connection after the last one if it drains.
func (c *conn) streamDone() {
	p := c.pool
	p.mu.Lock()
	c.active--
	if c.active == 0 {
		c.idleAt = p.now()
	}
	spent := !c.underLimits(p.limits())
	c.draining = c.draining || p.retired || spent
	last := c.draining && c.active == 0
	p.pump()
	p.mu.Unlock()
	switch {
	case last && spent:
		c.closeFor(tooOld)
	case last:
		c.close(c.dead.Load(), false)
	}
}

// gone is what the HTTP/2 codec calls when the connection has ended. The codec may hold locks that CanTake wants under
// the pool's mu, and may wait for this call in Close: so nothing is done here but to ask for it.
func (c *conn) gone() {
	c.dead.Store(true)
	c.pool.host.shared.Runtime.Do(func() {
		p := c.pool
		p.mu.Lock()
		_, open := p.all[c]
		busy := c.active > 0
		p.mu.Unlock()
		if open { // otherwise it is still being set up, and its first stream finds out
			c.close(true, busy)
		}
	})
}

// underLimits tells whether one more exchange is allowed. The pool's mu is held.
func (c *conn) underLimits(l *Limits) bool {
	return (l.MaxRequests == 0 || c.requests < l.MaxRequests) && !c.old(l)
}

func (c *conn) old(l *Limits) bool {
	return l.MaxDuration > 0 && c.pool.now()-c.born >= int64(l.MaxDuration)
}

// fate looks at a connection of the idle lists. The pool's mu is held.
func (c *conn) fate(l *Limits, now int64) fate {
	switch {
	case c.h1 != nil && !c.usable(), c.dead.Load():
		return goneByPeer
	case c.old(l):
		return tooOld
	case c.active > 0 || l.IdleTimeout == 0:
	case c.idleAt == 0:
		c.idleAt = now
	case now-c.idleAt >= int64(l.IdleTimeout):
		return idleTooLong
	}
	return keep
}

// closeFor closes a connection without requests and counts why.
func (c *conn) closeFor(f fate) {
	s := c.pool.host.shared.Stats
	switch {
	case f == idleTooLong:
		s.CxIdleTimeout.Inc()
	case f == tooOld && c.old(c.pool.limits()):
		s.CxMaxDuration.Inc()
	case f == tooOld:
		s.CxMaxRequests.Inc()
	}
	c.close(f == goneByPeer, false)
}

func (c *conn) busy() bool {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.active > 0
}

// close ends the connection; remote and active as in meter.end. Only the first call does anything.
func (c *conn) close(remote, active bool) {
	if c.closed.Swap(true) {
		return
	}
	if c.h1 != nil {
		_ = c.h1.Close()
	} else {
		_ = c.h2.Close()
	}
	p := c.pool
	p.mu.Lock()
	delete(p.all, c)
	p.idle = slices.DeleteFunc(p.idle, func(o *conn) bool { return o == c })
	p.shared = slices.DeleteFunc(p.shared, func(o *conn) bool { return o == c })
	requests := c.requests
	c.meter.bytes(c.raw.Socket)
	p.mu.Unlock()
	p.host.shared.Runtime.forget(c)
	p.host.shared.Stats.RqPerCx.Record(uint64(requests))
	c.meter.end(remote, active)
	p.mu.Lock()
	p.pump()
	p.mu.Unlock()
}
