package listener

import (
	"math/rand/v2"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// Scopes of drains.
const (
	drainAll = iota
	drainInbound
	drainScopes
)

// drains are those that admin's /drain_listeners asked for.
type drains struct {
	// begun is when the connections of a scope were asked to finish, the zero time before; Manager.connMu guards it.
	begun [drainScopes]time.Time
	// ended tells that the listeners of a scope were stopped for good; Manager.mu guards it.
	ended [drainScopes]bool
	// end stops the listeners of a scope after the drain time.
	end [drainScopes]timer.Timer
}

func (d *drains) init(m *Manager) {
	for scope := range d.end {
		// It runs on the wheel, so it leaves the work to a goroutine.
		d.end[scope].Init(m.opts.Wheel, func() { m.loops.Go(func() { m.stopListeners(scope) }) })
	}
}

func (d *drains) release() {
	for scope := range d.end {
		d.end[scope].Release()
	}
}

// stopped tells whether a drain has stopped the listeners of this one's direction. The caller holds Manager.mu.
func (d *drains) stopped(l *model.Listener) bool {
	return d.ended[drainAll] || d.ended[drainInbound] && l.TrafficDirection == model.TrafficInbound
}

// unreachable tells whether connections are not handed off to a listener any more. The caller holds Manager.mu.
func (d *drains) unreachable(l *model.Listener) bool {
	return d.ended[drainInbound] && l.TrafficDirection == model.TrafficInbound
}

// since is when connections of a listener were asked to finish; the zero time when they were not.
func (d *drains) since(l *model.Listener) time.Time {
	if t := d.begun[drainAll]; !t.IsZero() || l.TrafficDirection != model.TrafficInbound {
		return t
	}
	return d.begun[drainInbound]
}

// Drain is admin's /drain_listeners: connections of all listeners, or of inbound ones only, are asked to finish. Without graceful
// the listeners stop now; with it they accept during the drain time, what they accept is asked to finish too, and they stop then,
// or go on with skipExit. A graceful drain that is under way already is not begun again. Listeners that have stopped stay so
// whatever updates say.
func (m *Manager) Drain(graceful, inboundOnly, skipExit bool) {
	scope := drainAll
	if inboundOnly {
		scope = drainInbound
	}
	if !graceful {
		m.stopListeners(scope)
		return
	}
	if !m.beginDrain(scope) {
		return
	}
	if !skipExit {
		m.drains.end[scope].Arm(m.opts.DrainTime)
	}
}

// beginDrain asks the connections of a scope to finish; false when that was done before.
func (m *Manager) beginDrain(scope int) bool {
	m.connMu.Lock()
	d := &m.drains
	if !d.begun[scope].IsZero() || !d.begun[drainAll].IsZero() {
		m.connMu.Unlock()
		return false
	}
	d.begun[scope] = time.Now()
	m.connMu.Unlock()
	chosen := map[*runtime]bool{}
	m.mu.Lock()
	for _, a := range m.active {
		if !covers(scope, a.cfg) {
			continue
		}
		for _, r := range a.chains {
			chosen[r] = true
		}
	}
	m.mu.Unlock()
	m.signal(func(r *runtime) bool { return chosen[r] })
	return true
}

func covers(scope int, l *model.Listener) bool {
	return scope == drainAll || l.TrafficDirection == model.TrafficInbound
}

// stopListeners closes the sockets of a scope's listeners for good, and asks their connections to finish.
func (m *Manager) stopListeners(scope int) {
	if m.opts.Stopping != nil {
		m.opts.Stopping(scope == drainInbound)
	}
	m.mu.Lock()
	m.drains.ended[scope] = true
	for _, a := range m.active {
		if covers(scope, a.cfg) {
			m.closeSockets(a)
		}
	}
	m.publish()
	m.mu.Unlock()
	m.beginDrain(scope)
}

// joinDrain asks a connection that came while its listener drains to finish: as many at once as Envoy's gradual strategy does, the
// others within what is left of the drain time. The caller holds connMu.
func (m *Manager) joinDrain(cn *connection) {
	if m.drains.begun == [drainScopes]time.Time{} {
		return
	}
	since := m.drains.since(cn.at.cfg)
	if since.IsZero() {
		return
	}
	left := time.Duration(rand.Int64N(int64(m.opts.DrainTime))) - time.Since(since)
	if left <= 0 || m.opts.DrainStrategy == DrainImmediate {
		cn.tellDrain()
		return
	}
	cn.spread.Arm(left)
}
