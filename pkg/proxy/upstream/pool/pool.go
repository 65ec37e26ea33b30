package pool

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// sweepInterval is how often idle connections are looked at for peers that closed them, so that none stays half closed
// for long. A connection is looked at before each use anyway.
const sweepInterval = 5 * time.Second

// Pool is the connections of a host that are alike.
type Pool struct {
	host *Host
	key  key
	// learnt is the protocol that ALPN chose on the last connection of an auto pool; auto before the first.
	learnt atomic.Uint32
	sweep  timer.Timer

	mu      sync.Mutex
	idle    []*conn            // HTTP/1, the last one was used last
	shared  []*conn            // HTTP/2
	all     map[*conn]struct{} // both, and those in use
	dialing int
	waiters []*waiter // first come first
	// ratio is how many connections there should be for each request, as the last one that came said; at least 1.
	ratio   float64
	retired bool
}

// waiter is a request that waits for a connection. woken gets one value: see wake.
type waiter struct {
	woken chan wake
}

// wake gives a waiter its connection, which may be a new one, or an error.
type wake struct {
	conn  *conn
	fresh bool
	err   *upstream.Error
}

func newPool(h *Host, k key) *Pool {
	p := &Pool{host: h, key: k, all: make(map[*conn]struct{}), ratio: 1}
	p.learnt.Store(uint32(k.protocol))
	p.sweep.Init(h.shared.Runtime.wheel, func() { h.shared.Runtime.Do(p.sweepIdle) })
	return p
}

func (p *Pool) now() int64 { return p.host.shared.Runtime.wheel.Now() }

func (p *Pool) limits() *Limits { return p.host.shared.limits.Load() }

// reuse starts an exchange on a connection that is there. It gives neither a stream nor an error when none can take one.
func (p *Pool) reuse(ratio float64) (codec.ClientStream, *upstream.Error) {
	for {
		p.mu.Lock()
		c := p.take()
		if c != nil && ratio > 1 {
			p.ratio = ratio
			p.provision()
		}
		p.mu.Unlock()
		if c == nil {
			return nil, nil
		}
		if s, err := c.start(true); s != nil || err != nil {
			return s, err
		}
	}
}

// take reserves a place for an exchange on a connection. The caller holds mu.
func (p *Pool) take() *conn {
	if last := len(p.idle) - 1; last >= 0 {
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		c.active, c.requests = 1, c.requests+1
		return c
	}
	for _, c := range p.shared {
		if !c.draining && !c.dead.Load() && c.h2.CanTake() && c.underLimits(p.limits()) {
			c.active++
			c.requests++
			return c
		}
	}
	return nil
}

// connect starts an exchange on whichever connection is first: a new one, or one that becomes free meanwhile.
func (p *Pool) connect(ctx context.Context, ratio float64) (codec.ClientStream, error) {
	shared := p.host.shared
	if s, err := p.reuse(ratio); err != nil {
		shared.Stats.RqPendingOverflow.Inc()
		return nil, err
	} else if s != nil {
		return s, nil
	}
	pending := shared.Pending[p.key.priority]
	if !pending.Try() {
		shared.Stats.RqPendingOverflow.Inc()
		return nil, &upstream.Error{Kind: upstream.KindOverflow, BeforeResponse: true}
	}
	shared.Stats.RqPendingTotal.Inc()
	shared.Stats.RqPendingActive.Inc()
	defer func() {
		shared.Stats.RqPendingActive.Dec()
		pending.Release()
	}()
	for {
		s, err := p.attempt(ctx, ratio)
		if err != nil {
			switch err.Kind {
			case upstream.KindAborted:
				shared.Stats.RqCancelled.Inc()
			case upstream.KindOverflow:
				shared.Stats.RqPendingOverflow.Inc()
			default:
				shared.Stats.RqPendingFailureEject.Inc()
			}
			return nil, err
		}
		if s != nil {
			return s, nil
		}
	}
}

// attempt waits for a connection and starts an exchange; with neither stream nor error the connection was of no use.
func (p *Pool) attempt(ctx context.Context, ratio float64) (codec.ClientStream, *upstream.Error) {
	p.mu.Lock()
	if c := p.take(); c != nil {
		p.mu.Unlock()
		return c.start(true)
	}
	w := &waiter{woken: make(chan wake, 1)}
	p.waiters = append(p.waiters, w)
	p.ratio = max(1, ratio)
	p.provision()
	p.mu.Unlock()
	select {
	case woken := <-w.woken:
		if woken.err != nil {
			return nil, woken.err
		}
		return woken.conn.start(!woken.fresh)
	case <-ctx.Done():
		p.leave(w)
		return nil, &upstream.Error{Kind: upstream.KindAborted, BeforeResponse: true, Err: context.Cause(ctx)}
	}
}

// leave takes back the wish of a waiter who gave up, or passes on what it had been given.
func (p *Pool) leave(w *waiter) {
	p.mu.Lock()
	i := slices.Index(p.waiters, w)
	if i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		return
	}
	if woken := <-w.woken; woken.conn != nil {
		woken.conn.undo()
	}
}

// give hands w to the first waiter, false when there is none. The caller holds mu.
func (p *Pool) give(w wake) bool {
	if len(p.waiters) == 0 {
		return false
	}
	p.waiters[0].woken <- w
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return true
}

// pump gives the waiters what has room for them, and has connections made for the others. The caller holds mu.
func (p *Pool) pump() {
	for len(p.waiters) > 0 {
		c := p.take()
		if c == nil {
			break
		}
		p.give(wake{conn: c})
	}
	p.provision()
}

// giveUp retires a pool that has no requests, and returns the connections that are to be closed.
func (p *Pool) giveUp() (victims []*conn, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) > 0 || p.dialing > 0 {
		return nil, false
	}
	for c := range p.all {
		if c.active > 0 {
			return nil, false
		}
	}
	p.retired = true
	return p.unused(), true
}

// retire closes what is idle and keeps nothing from now on.
func (p *Pool) retire() {
	p.mu.Lock()
	p.retired = true
	victims := p.unused()
	p.mu.Unlock()
	for _, c := range victims {
		c.close(false, false)
	}
}

// drain lets go of all connections there are: those without requests at once, the others after their last one.
func (p *Pool) drain() {
	p.mu.Lock()
	victims := p.unused()
	for c := range p.all {
		c.draining = true
	}
	p.mu.Unlock()
	for _, c := range victims {
		c.close(false, false)
	}
}

// unused takes the connections without requests off the lists, and lets the others take no more. The caller holds mu.
func (p *Pool) unused() []*conn {
	victims := p.idle
	p.idle = nil
	for _, c := range p.shared {
		c.draining = true
		if c.active == 0 {
			victims = append(victims, c)
		}
	}
	return victims
}

// sweepIdle closes the connections that are idle for too long, too old, or closed by their peer.
func (p *Pool) sweepIdle() {
	limits, now := p.limits(), p.now()
	p.mu.Lock()
	victims := make(map[*conn]fate)
	p.idle = slices.DeleteFunc(p.idle, func(c *conn) bool {
		f := c.fate(limits, now)
		if f != keep {
			victims[c] = f
		}
		return f != keep
	})
	for _, c := range p.shared {
		if f := c.fate(limits, now); f != keep {
			c.draining = true
			if c.active == 0 {
				victims[c] = f
			}
		}
	}
	for c := range p.all {
		c.meter.bytes(c.raw.Socket)
	}
	empty := len(p.all) == 0 && p.dialing == 0 && len(p.waiters) == 0
	// Whoever has found the pool just before it is dropped may use it still; what it opens then must not stay.
	p.retired = p.retired || empty
	p.mu.Unlock()
	for c, f := range victims {
		c.closeFor(f)
	}
	if empty {
		p.host.drop(p)
		return
	}
	p.arm(limits)
}

// armIfIdle plans the next sweep unless one is planned.
func (p *Pool) armIfIdle() {
	if !p.sweep.Armed() {
		p.arm(p.limits())
	}
}

// arm plans the next sweep.
func (p *Pool) arm(limits *Limits) {
	d := sweepInterval
	if limits.IdleTimeout > 0 {
		d = min(d, max(limits.IdleTimeout, time.Millisecond))
	}
	if limits.MaxDuration > 0 {
		d = min(d, max(limits.MaxDuration, time.Millisecond))
	}
	p.sweep.Arm(d)
}
