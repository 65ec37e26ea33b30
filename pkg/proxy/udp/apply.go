package udp

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// retryInterval is how far apart listeners that cannot be applied are tried again while no listener changes.
const retryInterval = time.Second

// Apply makes the listeners of datagrams those of the snapshot. A listener that cannot be built or bound is reported as an *Error
// and keeps its present version, if it has one.
func (m *Manager) Apply(snap *model.Snapshot) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return nil // package listener tells of it
	}
	changed := m.changed(snap)
	if len(changed) == 0 {
		return nil
	}
	var errs []error
	for _, name := range changed {
		if a := m.active[name]; a != nil && wanted(snap, name) == nil {
			m.stats.removed.Inc()
			m.remove(a)
		}
	}
	for _, name := range changed {
		cfg := wanted(snap, name)
		if cfg == nil || m.inboundStopped && cfg.TrafficDirection == model.TrafficInbound {
			continue
		}
		if was := m.active[name]; was != nil && was.cfg == cfg {
			continue
		}
		if err := m.replace(cfg); err != nil {
			m.stats.failure.Inc()
			m.failed = append(m.failed, name)
			errs = append(errs, &Error{Listener: name, Err: err})
		}
	}
	m.publish()
	return errs
}

// wanted is the listener of datagrams of a name; nil when the snapshot has none.
func wanted(snap *model.Snapshot, name string) *model.Listener {
	if l := snap.Listeners.Get(name); l != nil && l.UDP != nil {
		return l
	}
	return nil
}

// changed names the listeners that differ from those applied last, or are to be tried again.
func (m *Manager) changed(snap *model.Snapshot) []string {
	var names []string
	for name, l := range snap.Listeners.Changes(m.applied) {
		if l.Old != nil && l.Old.UDP != nil || l.New != nil && l.New.UDP != nil {
			names = append(names, name)
		}
	}
	m.applied = snap.Listeners
	if len(m.failed) > 0 && (len(names) > 0 || time.Since(m.retried) >= retryInterval) {
		names = append(names, m.failed...)
		m.failed, m.retried = nil, time.Now()
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// replace puts the next version of a listener into its place. Its sessions go on when what handles them is the same.
func (m *Manager) replace(cfg *model.Listener) error {
	was := m.active[cfg.Name]
	next := &active{cfg: cfg, scope: m.opts.Stats.Scope("listener." + statPrefix(cfg) + ".udp")}
	next.dropped = next.scope.Counter("downstream_rx_datagram_dropped")
	kept := was != nil && sameHandling(was.cfg, cfg)
	if kept {
		next.handler = was.handler
	} else {
		var err error
		if next.handler, err = m.opts.NewHandler(cfg); err != nil {
			next.scope.Close()
			return err
		}
	}
	opened, err := m.bind(next, was)
	if err != nil {
		next.scope.Close()
		if !kept {
			next.handler.Close()
		}
		return err
	}
	m.active[cfg.Name] = next
	for _, s := range next.sockets {
		s.target.Store(next)
	}
	for _, s := range opened {
		m.sockets[s.key] = s
		m.run(s, m.taker(s))
	}
	m.stats.success.Inc()
	if was == nil {
		m.stats.added.Inc()
		m.stats.active.Inc()
	} else {
		m.stats.modified.Inc()
		m.leave(was, next)
		if !kept {
			was.handler.Close()
		}
		was.scope.Close()
	}
	m.opts.Log.Info("listener is up", "name", cfg.Name, "protocol", "udp", "addresses", next.addresses())
	return nil
}

// sameHandling tells whether datagrams are handled in the same way.
func sameHandling(a, b *model.Listener) bool {
	return reflect.DeepEqual(a.ListenerFilters, b.ListenerFilters) && reflect.DeepEqual(a.UDP, b.UDP)
}

// bind gives the next version its sockets, those of the last one where they fit, and returns those opened now. Sockets of the
// last one that are in the way are closed for it.
func (m *Manager) bind(next, was *active) (opened []*socket, err error) {
	defer func() {
		if err != nil {
			for _, s := range opened {
				s.shut()
			}
		}
	}()
	for _, sp := range specs(next.cfg) {
		s := m.sockets[sp.key]
		if s != nil && s.target.Load() != was {
			return opened, errors.New("bind " + sp.addr.String() + ": listener " + s.target.Load().cfg.Name + " has this address")
		}
		if s == nil {
			if s, err = m.open(was, sp); err != nil {
				return opened, err
			}
			opened = append(opened, s)
		}
		next.sockets = append(next.sockets, s)
	}
	return opened, nil
}

// clear closes the sockets of a version on its way out that have the port of a socket to come.
func (m *Manager) clear(was *active, sp spec) bool {
	if was == nil {
		return false
	}
	found := false
	for _, s := range was.sockets {
		if s.bound.Port() == sp.addr.Port() {
			s.shut()
			delete(m.sockets, s.key)
			found = true
		}
	}
	return found
}

// leave closes the sockets that the next version does not go on with.
func (m *Manager) leave(was, next *active) {
	for _, s := range was.sockets {
		if !slices.Contains(next.sockets, s) {
			s.shut()
			delete(m.sockets, s.key)
		}
	}
	was.sockets = nil
}

// remove ends a listener with its sessions.
func (m *Manager) remove(a *active) {
	delete(m.active, a.cfg.Name)
	m.leave(a, &active{})
	a.handler.Close()
	a.scope.Close()
	m.stats.active.Dec()
}
