package xds

import (
	"strings"
	"time"
)

// begin holds requests back until the response is settled; false when its type was never asked for.
func (m *Mux) begin(typeURL string, server *Server) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from = server
	m.busy = m.types[typeURL] != nil
	return m.busy
}

// settle records the outcome of a response, for the sender to tell.
func (m *Mux) settle(u Update, nonce string, err error) {
	m.mu.Lock()
	m.busy = false
	s := m.types[u.Type]
	s.nonce = nonce
	wait := s.settled(&u, ack{nonce: nonce, err: err}, m.opt.Delta, time.Now())
	s.keep(&u, m.opt.Delta, err)
	var earliest time.Time
	if u.Refused == nil {
		s.returned(&u, m.opt.Delta)
		earliest = s.lease(&u, time.Now())
	}
	m.mu.Unlock()
	m.reaper.notLaterThan(earliest)
	m.wake()
	if wait > 0 {
		time.AfterFunc(wait, m.wake)
	}
}

// settled queues what is to be said of a response, and returns how long that is held back.
func (s *subscription) settled(u *Update, a ack, delta bool, now time.Time) time.Duration {
	if !delta {
		s.acks = nil
	}
	s.acks = append(s.acks, a)
	if a.err == nil {
		s.version, s.rejections, s.haste, s.hold = u.Version, 0, 0, time.Time{}
		return 0
	}
	version := u.Version
	if delta {
		if now.Before(s.hold) && len(s.acks) > 1 {
			return 0 // it answers no NACK, as that is still here: it joins it
		}
		version = a.nonce // a delta server sends each change but once, under a version that need not change
	}
	wait := s.reject(version, now)
	s.hold = now.Add(wait)
	return wait
}

// keep notes the versions of the resources of a delta response.
func (s *subscription) keep(u *Update, delta bool, err error) {
	for i := range u.Resources {
		r := &u.Resources[i]
		if !delta || r.Body == nil || !s.wants(r) {
			continue
		}
		s.versions[r.Name] = r.Version
		if err != nil {
			// Some of a rejected response may be in force: after a reconnection the control plane must send it again,
			// or tell that it is gone.
			s.versions[r.Name] = ""
		}
	}
	if u.Refused != nil {
		return // what it calls removed is in force
	}
	for _, name := range u.Removed {
		s.forget(name)
	}
}

// wants tells whether a resource was asked for: by its name, an alias, or the collection that it is in.
func (s *subscription) wants(r *Resource) bool {
	if s.wildcard || s.names[r.Name] {
		return true
	}
	for _, alias := range r.Aliases {
		if s.names[alias] {
			s.aliases[alias] = r.Name
			return true
		}
	}
	collection := r.Name[:strings.LastIndexByte(r.Name, '/')+1]
	return collection != "" && (s.names[collection+"*"] || s.names[strings.TrimSuffix(collection, "/")])
}

// forget drops what is known of a resource.
func (s *subscription) forget(name string) {
	delete(s.versions, name)
	delete(s.expiries, name)
}

// Waits before a version is rejected once more. A control plane that answers each NACK with the same version, as
// go-control-plane's snapshot cache does, would otherwise keep both sides busy until somebody mends the configuration. One
// that makes up a version each time, or goes back and forth between bad ones, is told maxHaste times without a wait.
const (
	firstHold = 250 * time.Millisecond
	maxHold   = 10 * time.Second
	maxHaste  = 8
	// atOnce is how soon after a NACK a response must come to be an answer to it.
	atOnce = time.Second
	// maxHeld is how many NACKs of a delta stream are held at most; beyond that the oldest leave.
	maxHeld = 64
)

// reject counts a rejection and returns how long to wait before the control plane is told: not at all for the first of a
// version, then twice as long each time.
func (s *subscription) reject(version string, now time.Time) time.Duration {
	if s.rejected != version {
		s.rejected, s.rejections = version, 0
	}
	if now.Sub(s.due) > atOnce {
		s.haste = 0
	}
	s.rejections++
	s.haste++
	wait := time.Duration(0)
	if n := max(s.rejections-1, s.haste-maxHaste); n > 0 {
		wait = min(maxHold, firstHold<<min(n-1, 10))
	}
	s.due = now.Add(wait)
	return wait
}
