package listener

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
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
	// begun is when the connections of a scope were asked to finish, in Unix nanoseconds; 0 before. It is written with
	// Manager.connMu held.
	begun [drainScopes]atomic.Int64
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

// since is when connections of a listener were asked to finish, in Unix nanoseconds; 0 when they were not.
func (d *drains) since(l *model.Listener) int64 {
	if t := d.begun[drainAll].Load(); t != 0 || l.TrafficDirection != model.TrafficInbound {
		return t
	}
	return d.begun[drainInbound].Load()
}

// DrainClose tells whether the response that is about to be sent is to be the last one of its connection, because the listener
// drains: each one is with the immediate strategy, and with the gradual one a share that grows with the time since the drain began,
// as in Envoy. It is how connections finish that come while a listener drains.
func (m *Manager) DrainClose(l *model.Listener) bool {
	since := m.drains.since(l)
	if since == 0 {
		return false
	}
	return m.opts.DrainStrategy == DrainImmediate || rand.Int64N(int64(m.opts.DrainTime)) < time.Now().UnixNano()-since
}

// Drain is admin's /drain_listeners: connections of all listeners, or of inbound ones only, are asked to finish. Without graceful
// the listeners stop now; with it they accept during the drain time, see DrainClose for what they accept, and they stop then, or go
// on with skipExit. A graceful drain that is under way already is not begun again. Listeners that have stopped stay so
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
	if d.begun[scope].Load() != 0 || d.begun[drainAll].Load() != 0 {
		m.connMu.Unlock()
		return false
	}
	d.begun[scope].Store(time.Now().UnixNano())
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
	m.signal(m.opts.DrainTime, func(r *runtime) (*filter.Period, bool) { return nil, chosen[r] }) // DrainClose tells the busy ones
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
