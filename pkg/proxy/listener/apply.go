package listener

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Error is why a listener could not be built or bound.
type Error struct {
	// Listener is its name.
	Listener string
	Err      error
}

// Error implements error.
func (e *Error) Error() string { return "listener " + e.Listener + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// replacement is a listener's version on its way out, with the next one, nil when there is none.
type replacement struct{ was, next *active }

// Apply makes the listeners those of the snapshot, at next to no cost when it has none that changed. A listener that cannot be built or bound is reported as an *Error and
// keeps its present version, if it has one; the others are applied. It is tried again by a later Apply. Sockets whose
// address somebody goes on with stay open all the time, also when listeners exchange their addresses.
func (m *Manager) Apply(snap *model.Snapshot) []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return []error{errors.New("apply listeners: the manager has stopped accepting")}
	}
	changed := m.changed(snap)
	if len(changed) == 0 {
		return nil
	}
	// What goes keeps its sockets until all others had the chance to take them over.
	var leaving []replacement
	for _, name := range changed {
		if a := m.active[name]; a != nil && ofConnections(snap, name) == nil {
			m.stats.removed.Inc()
			delete(m.active, name)
			leaving = append(leaving, replacement{was: a})
		}
	}
	next, errs := m.buildAll(snap, changed)
	sockets := m.newBinding(next)
	for _, name := range slices.Sorted(maps.Keys(next)) {
		was := m.active[name]
		if err := m.replace(next[name], was, sockets); err != nil {
			errs[name] = err
			continue
		}
		if was != nil {
			leaving = append(leaving, replacement{was, next[name]})
		}
	}
	for name := range errs {
		m.forgetLost(m.active[name])
	}
	gone := map[*runtime]bool{}
	for _, r := range leaving {
		m.leave(r.was, r.next, gone)
	}
	m.publish()
	if len(gone) > 0 {
		m.retire(gone)
	}
	m.settleLocked()
	return m.failures(errs)
}

// retryInterval is how far apart listeners that cannot be applied are tried again while no listener changes: endpoints may
// change a thousand times a second.
const retryInterval = time.Second

// changed names the listeners that differ from those applied last, and those that could not be applied then and are to be tried
// again.
func (m *Manager) changed(snap *model.Snapshot) []string {
	var names []string
	for name := range snap.Listeners.Changes(m.applied) {
		names = append(names, name)
	}
	m.applied = snap.Listeners
	if len(m.failed) > 0 && (len(names) > 0 || time.Since(m.retried) >= retryInterval) {
		names = append(names, m.failed...)
		m.failed, m.retried = nil, time.Now()
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// forgetLost takes away from a listener that was to move, and did not, what others have taken over.
func (m *Manager) forgetLost(a *active) {
	if a != nil {
		a.sockets = slices.DeleteFunc(a.sockets, func(s *socket) bool { return m.sockets[s.key] != s || s.target.Load() != a })
	}
}

func (m *Manager) failures(errs map[string]error) []error {
	var out []error
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		m.stats.failure.Inc()
		m.failed = append(m.failed, name)
		out = append(out, &Error{Listener: name, Err: errs[name]})
	}
	return out
}

// buildAll builds the next versions of the named listeners, and gives the errors by name. As in Envoy, listeners of a direction
// that was stopped are neither changed nor added.
func (m *Manager) buildAll(snap *model.Snapshot, changed []string) (next map[string]*active, errs map[string]error) {
	next, errs = map[string]*active{}, map[string]error{}
	for _, name := range changed {
		cfg, was := ofConnections(snap, name), m.active[name]
		if cfg == nil || was != nil && was.cfg == cfg || m.drains.stopped(cfg) {
			continue
		}
		a, err := m.build(cfg, was)
		if err != nil {
			errs[name] = err
			continue
		}
		next[name] = a
	}
	return next, errs
}

// replace puts the next version of a listener into the place of was.
func (m *Manager) replace(next, was *active, b *binding) error {
	cfg := next.cfg
	sockets, err := b.bind(cfg)
	if err != nil {
		next.discard(reusable(was, cfg))
		return err
	}
	m.active[cfg.Name] = next
	for _, c := range sockets {
		next.sockets = append(next.sockets, c.socket)
		c.target.Store(next)
		if c.opened {
			m.sockets[c.key] = c.socket
			m.loops.Go(func() { m.accept(c.socket) })
		}
		if c.was != nil {
			c.was.target.Store(next)
			m.acceptRest(c.was)
			c.was.shut()
		}
	}
	m.stats.success.Inc()
	switch {
	case was == nil:
		m.stats.added.Inc()
	default:
		m.stats.modified.Inc()
		if sameBesideChains(was.cfg, cfg) {
			m.stats.inPlace.Inc()
		}
	}
	m.opts.Log.Info("listener is up", "name", cfg.Name, "addresses", next.status(false).Addresses)
	return nil
}

// leave ends a listener's version: sockets that the next one does not have are closed, chains that it does not have are
// added to gone, with true when nothing else has changed. A socket that another listener took over stays open.
func (m *Manager) leave(was, next *active, gone map[*runtime]bool) {
	kept := map[*runtime]bool{}
	if next != nil {
		for _, r := range next.chains {
			kept[r] = true
		}
	}
	inPlace := next != nil && sameBesideChains(was.cfg, next.cfg)
	for _, r := range was.chains {
		if !kept[r] {
			gone[r] = inPlace
		}
	}
	for _, s := range was.sockets {
		if s.target.Load() == was {
			s.shut()
			delete(m.sockets, s.key)
		}
	}
	was.sockets = nil
	was.retired.Store(true)
	m.draining[was] = struct{}{}
}

// settle forgets listener versions that have no connection any more.
func (m *Manager) settle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settleLocked()
}

func (m *Manager) settleLocked() {
	for a := range m.draining {
		if a.conns.Load() == 0 {
			a.stats.scope.Close()
			delete(m.draining, a)
		}
	}
	m.stats.draining.Set(uint64(len(m.draining)))
}

// StopAccepting closes all sockets. Connections go on. Apply is refused afterwards.
func (m *Manager) StopAccepting() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	m.stopped = true
	for _, a := range m.active {
		m.closeSockets(a)
	}
	m.closeCapture()
	m.publish()
}

// closeSockets ends the accepting of a listener, once.
func (m *Manager) closeSockets(a *active) {
	if a.closed {
		return
	}
	a.closed = true
	for _, s := range a.sockets {
		m.acceptRest(s)
		s.shut()
		delete(m.sockets, s.key)
	}
	m.stats.stopped.Inc()
	a.sockets = nil
}
