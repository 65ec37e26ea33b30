package listener

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// errStopping ends connections when the process stops.
var errStopping = errors.New("weir is stopping")

// limit is how many connections a listener may have.
func (m *Manager) limit(a *active) int64 {
	limit := int64(math.MaxInt64)
	if m.opts.Runtime.Knows(model.RuntimeFamilyListener) {
		if n, ok := m.opts.Runtime.Number(model.RuntimeListenerLimit + a.cfg.Name + model.RuntimeListenerLimitAfter); ok {
			limit = int64(min(n, math.MaxInt64))
		}
	}
	return limit
}

// register counts a connection in that a listener accepted, nil for captured ones; false when there are too many, or the manager
// is done.
func (m *Manager) register(cn *connection, by *active) bool {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	if m.ctx.Err() != nil {
		return false
	}
	if by == nil || !by.cfg.IgnoreGlobalLimit {
		if limit, ok := m.opts.Runtime.Number(model.RuntimeGlobalLimit); ok && uint64(m.limited) >= limit {
			if by != nil {
				by.stats.globalOverflow.Inc()
			} else {
				m.stats.globalOverflow.Inc()
			}
			return false
		}
		cn.limited = true
		m.limited++
	}
	m.conns[cn] = struct{}{}
	return true
}

// assign notes which chain serves the connection, so that its drain reaches it. It is false for a chain that drains:
// the connection came while an update took that away.
func (m *Manager) assign(cn *connection, r *runtime) bool {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	if r.draining {
		return false
	}
	cn.chain = r
	r.conns++
	return true
}

// unregister counts a connection out and releases a chain that has drained.
func (m *Manager) unregister(cn *connection) {
	m.connMu.Lock()
	delete(m.conns, cn)
	if cn.limited {
		m.limited--
	}
	var done *runtime
	if r := cn.chain; r != nil {
		if r.conns--; r.conns == 0 && r.draining {
			done = r
		}
	}
	if len(m.conns) == 0 && m.empty != nil {
		close(m.empty)
		m.empty = nil
	}
	m.connMu.Unlock()
	if done != nil {
		m.finished(done)
	}
}

// tellDrain asks the connection to finish.
func (cn *connection) tellDrain() { cn.drain.Begin() }

// signal tells the connections that pick chooses to finish: at once, or each at its moment within a time. Those that are busy are
// told earlier in the period that pick gives, which may be nil.
func (m *Manager) signal(within time.Duration, pick func(*runtime) (busy *filter.Period, chosen bool)) {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	for cn := range m.conns {
		if cn.chain == nil {
			continue
		}
		switch busy, chosen := pick(cn.chain); {
		case !chosen:
		case m.opts.DrainStrategy == DrainImmediate:
			cn.tellDrain()
		default:
			cn.drain.Within(busy)
			cn.spread.Arm(time.Duration(rand.Int64N(int64(max(within, 1)))))
		}
	}
}

// Finish asks all connections to finish now, whatever the strategy of draining is: those that are idle end at once. It is for
// the end of the process, after StopAccepting.
func (m *Manager) Finish() {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	for cn := range m.conns {
		cn.tellDrain()
	}
}

// retire drains chains that no listener has any more. What still runs after the drain time is ended, so that the last connection is
// told when half of it is left: who is told at the end has no time to finish. Chains whose value is true were replaced in place, and
// their connections are told by the next response, as in Envoy.
func (m *Manager) retire(chains map[*runtime]bool) {
	if len(chains) == 0 {
		return
	}
	var idle []*runtime
	m.connMu.Lock()
	for r := range chains {
		m.stats.chainsDraining.Inc()
		r.draining = true
		r.kill.Init(m.opts.Wheel, func() { m.abort(func(cn *connection) bool { return cn.chain == r }) })
		if r.conns == 0 {
			idle = append(idle, r)
		} else {
			r.kill.Arm(m.opts.DrainTime)
		}
	}
	m.connMu.Unlock()
	half := m.opts.DrainTime / 2
	atOnce := &filter.Period{Since: time.Now()}
	gradual := &filter.Period{Since: atOnce.Since, Over: half}
	m.signal(half, func(r *runtime) (busy *filter.Period, chosen bool) {
		inPlace, chosen := chains[r]
		if inPlace {
			return atOnce, chosen
		}
		return gradual, chosen
	})
	for _, r := range idle {
		m.finished(r)
	}
}

// finished releases a chain after its last connection.
func (m *Manager) finished(r *runtime) {
	r.kill.Release()
	r.close()
	m.stats.chainsDraining.Dec()
}

// abort ends the connections that pick chooses at once.
func (m *Manager) abort(pick func(*connection) bool) {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	for cn := range m.conns {
		if pick(cn) {
			cn.c.Abort()
		}
	}
}

// Wait blocks until all connections have ended by themselves. When ctx ends first they are aborted, and Wait returns the
// context's error once they are gone. It is meant to be called after StopAccepting.
func (m *Manager) Wait(ctx context.Context) error {
	empty := m.whenEmpty()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	m.cancel(errStopping)
	m.abort(func(*connection) bool { return true })
	<-empty
	return context.Cause(ctx)
}

// whenEmpty gives a channel that is closed when no connection is left.
func (m *Manager) whenEmpty() <-chan struct{} {
	m.connMu.Lock()
	defer m.connMu.Unlock()
	if m.empty != nil {
		return m.empty
	}
	ch := make(chan struct{})
	if len(m.conns) == 0 {
		close(ch)
	} else {
		m.empty = ch
	}
	return ch
}

// Close closes all sockets, ends all connections at once and waits for everything that the manager started.
func (m *Manager) Close() {
	m.StopAccepting()
	m.drains.release()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.Wait(ctx) // nothing to wait for is no error, and ending what is there was asked for
	m.cancel(errStopping)
	m.reclaim.timer.Release()
	m.loops.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.active {
		for _, r := range a.chains {
			r.close()
		}
		a.stats.scope.Close()
	}
	m.active = map[string]*active{}
	m.publish()
}
