package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// tcpPool is the connections of a host that are used as they are, are alike, and of which some are made ahead: as many as the
// ratio says, as long as there is traffic.
//
// What a server says first waits in the socket until the connection is used. A connection whose peer has ended its direction is
// never given out, not even with bytes to read: a new connection gets a greeting of its own, while what a server says as it loses
// patience with a silent client is not for the next one. It is replaced when there is traffic.
type tcpPool struct {
	host  *Host
	key   tcpKey
	sweep timer.Timer

	mu      sync.Mutex
	ready   []*TCPConn // first come first used, so that none waits for long and what is too much for the traffic is used up
	dialing int
	active  int         // in use
	waiters []chan *got // first come first; at most dialing
	ratio   float64     // as the last one who came said
	retired bool
}

// got is what a waiter gets: a connection or an error.
type got struct {
	conn *TCPConn
	err  *upstream.Error
}

func newTCPPool(h *Host, k tcpKey) *tcpPool {
	p := &tcpPool{host: h, key: k}
	p.sweep.Init(h.shared.Runtime.wheel, func() { h.shared.Runtime.Do(p.sweepReady) })
	p.arm()
	return p
}

// take gives a connection that is ready; nil when there is none.
func (p *tcpPool) take(ratio float64) *TCPConn {
	shared := p.host.shared
	for {
		p.mu.Lock()
		p.ratio = ratio
		if len(p.ready) == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.ready[0]
		p.ready = slices.Delete(p.ready, 0, 1)
		f := c.fate(shared.limits.Load(), shared.Runtime.wheel.Now())
		use := f == keep || f == idleTooLong // who is about to be used is not idle
		if use {
			p.active++
		}
		p.mu.Unlock()
		shared.Runtime.release(c)
		if use {
			return c
		}
		c.endFor(f) // at once, for its place may be what is missing for another one
	}
}

// await waits for a connection that is being made ahead and that nobody else waits for. It gives neither a connection nor an error
// when there is none.
func (p *tcpPool) await(ctx context.Context) (*TCPConn, error) {
	p.mu.Lock()
	if p.dialing <= len(p.waiters) {
		p.mu.Unlock()
		return nil, nil
	}
	w := make(chan *got, 1)
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	var g *got
	select {
	case g = <-w:
	case <-ctx.Done():
		p.mu.Lock()
		i := slices.Index(p.waiters, w)
		if i >= 0 {
			p.waiters = slices.Delete(p.waiters, i, i+1)
		}
		p.mu.Unlock()
		if i < 0 { // it came at the same time
			if g = <-w; g.conn != nil {
				g.conn.Close()
			}
		}
		return nil, &upstream.Error{Kind: upstream.KindAborted, BeforeResponse: true, Err: context.Cause(ctx)}
	}
	if g.err != nil {
		return nil, g.err
	}
	return g.conn, nil
}

// use counts a connection that its user made.
func (p *tcpPool) use(ratio float64) {
	p.mu.Lock()
	p.active++
	p.ratio = ratio
	p.mu.Unlock()
}

// wants tells whether those in use, those waited for and coming ones, times the ratio, outnumber what there is. The caller holds
// mu.
func (p *tcpPool) wants(ratio float64, coming int) bool {
	p.ready = slices.DeleteFunc(p.ready, func(c *TCPConn) bool {
		gone := c.Socket.HungUp()
		if gone { // closing may block
			runtime := p.host.shared.Runtime
			runtime.release(c)
			runtime.Do(func() { c.endFor(goneByPeer) })
		}
		return gone
	})
	return float64(len(p.waiters)+p.active+coming)*ratio > float64(len(p.ready)+p.dialing+p.active)
}

// provision has connections made until there are as many as the ratio asks for. The caller holds mu.
func (p *tcpPool) provision() {
	if p.ratio <= 1 || p.retired {
		return
	}
	for ahead := 0; ahead < maxAtOnce && p.wants(p.ratio, 0); ahead++ {
		if !p.dialOne() {
			return
		}
	}
}

// dialOne starts making a connection, unless the circuit breaker or the limit of the host forbids it. The caller holds mu.
func (p *tcpPool) dialOne() bool {
	shared, priority := p.host.shared, p.key.priority
	full := p.host.stats.CxActive.Load() >= int64(shared.limits.Load().PerHost[priority])
	if full || !shared.Connections[priority].Try() {
		shared.Stats.CxOverflow.Inc()
		return false
	}
	p.dialing++
	c := &TCPConn{meter: newMeter(p.host, priority), pool: p}
	if !shared.Runtime.spawn(func(ctx context.Context) { p.dial(ctx, c) }) {
		p.dialing--
		c.meter.end(false, false)
		return false
	}
	return true
}

// dial makes a connection and gives it to the first who waits, or else keeps it.
func (p *tcpPool) dial(ctx context.Context, c *TCPConn) {
	runtime := p.host.shared.Runtime
	if err := p.establish(ctx, c); err != nil {
		failure := connectFailure(err)
		c.meter.end(failure.Kind == upstream.KindConnect, false)
		p.mu.Lock()
		p.dialing--
		if len(p.waiters) > p.dialing {
			p.give(&got{err: failure})
		}
		p.mu.Unlock()
		return
	}
	c.made = runtime.wheel.Now()
	p.mu.Lock()
	p.dialing--
	unused := false
	switch {
	case len(p.waiters) > 0:
		p.active++
		p.give(&got{conn: c})
	case p.retired:
		unused = true
	default:
		p.ready = append(p.ready, c)
		runtime.keep(c)
	}
	p.mu.Unlock()
	if unused {
		c.end(false, false)
	}
}

// establish makes a connection. It makes an error of a panic.
func (p *tcpPool) establish(ctx context.Context, c *TCPConn) (err error) {
	defer func() {
		if bad := upstream.Recovered(recover()); bad != nil {
			err = bad
		}
	}()
	raw, err := dial(ctx, p.host, p.key.origin, p.key.sni, nil, c.meter)
	if err == nil {
		c.opened(raw)
	}
	return err
}

// give hands g to the first waiter. The caller holds mu.
func (p *tcpPool) give(g *got) {
	p.waiters[0] <- g
	p.waiters = slices.Delete(p.waiters, 0, 1)
}

// remove takes a connection off the ready ones; false when it is none of them any more.
func (p *tcpPool) remove(c *TCPConn) bool {
	p.mu.Lock()
	i := slices.Index(p.ready, c)
	if i >= 0 {
		p.ready = slices.Delete(p.ready, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		p.host.shared.Runtime.release(c)
	}
	return i >= 0
}

// retire closes what is ready and keeps nothing from now on.
func (p *tcpPool) retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.drain()
}

// drain closes what is ready.
func (p *tcpPool) drain() {
	p.mu.Lock()
	victims := p.ready
	p.ready = nil
	p.mu.Unlock()
	for _, c := range victims {
		p.host.shared.Runtime.release(c)
		c.end(false, false)
	}
}

// fate looks at a connection that is ready.
func (c *TCPConn) fate(l *Limits, now int64) fate {
	switch age := time.Duration(now - c.made); {
	case c.Socket.HungUp():
		return goneByPeer
	case l.MaxDuration > 0 && age >= l.MaxDuration:
		return tooOld
	case l.TCPIdleTimeout > 0 && age >= l.TCPIdleTimeout:
		return idleTooLong
	}
	return keep
}

// endFor closes a connection that nobody used and counts why.
func (c *TCPConn) endFor(f fate) {
	switch s := c.meter.host.shared.Stats; f {
	case idleTooLong:
		s.CxIdleTimeout.Inc()
	case tooOld:
		s.CxMaxDuration.Inc()
	}
	c.end(f == goneByPeer, false)
}

// sweepReady closes the connections that nobody has used for too long, that are too old, or that their peer has ended. It drops a
// pool without connections, so that server names chosen by clients do not pile up.
func (p *tcpPool) sweepReady() {
	shared := p.host.shared
	limits, now := shared.limits.Load(), shared.Runtime.wheel.Now()
	p.mu.Lock()
	victims := make(map[*TCPConn]fate)
	p.ready = slices.DeleteFunc(p.ready, func(c *TCPConn) bool {
		f := c.fate(limits, now)
		if f != keep {
			victims[c] = f
		}
		return f != keep
	})
	empty := len(p.ready)+p.dialing+p.active == 0
	// Whoever has found the pool just before it is dropped may use it still; it keeps nothing then.
	p.retired = p.retired || empty
	p.mu.Unlock()
	for c, f := range victims {
		shared.Runtime.release(c)
		c.endFor(f)
	}
	if empty {
		p.host.dropTCP(p)
		return
	}
	p.arm()
}

// arm plans the next sweep.
func (p *tcpPool) arm() {
	d, limits := sweepInterval, p.host.shared.limits.Load()
	for _, t := range [...]time.Duration{limits.TCPIdleTimeout, limits.MaxDuration} {
		if t > 0 {
			d = min(d, max(t, time.Millisecond))
		}
	}
	p.sweep.Arm(d)
}

// dropTCP forgets a pool without connections.
func (h *Host) dropTCP(p *tcpPool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := *h.bare.Load()
	pools := slices.DeleteFunc(slices.Clone(old), func(q *tcpPool) bool { return q == p })
	h.bare.Store(&pools)
	h.shared.Runtime.unsettle(p, p.key.origin.Namespace)
}

// keep notes a connection that is ready.
func (r *Runtime) keep(c *TCPConn) {
	r.mu.Lock()
	r.spares[c] = struct{}{}
	r.mu.Unlock()
}

// release forgets one that is ready no more.
func (r *Runtime) release(c *TCPConn) {
	r.mu.Lock()
	delete(r.spares, c)
	r.mu.Unlock()
}

// evict closes one of the connections that are ready and suit; false when there is none.
func (r *Runtime) evict(suits func(*TCPConn) bool) bool {
	for {
		var victim *TCPConn
		r.mu.Lock()
		for c := range r.spares {
			if suits(c) {
				victim = c
				delete(r.spares, c)
				break
			}
		}
		r.mu.Unlock()
		if victim == nil {
			return false
		}
		if victim.pool.remove(victim) {
			victim.end(false, false)
			return true
		}
	}
}
