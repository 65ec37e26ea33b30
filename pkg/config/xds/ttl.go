package xds

import (
	"context"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// reaper wakes when the next TTL runs out.
type reaper struct {
	// earlier takes a time that is to be woken at, one slot each.
	earlier chan time.Time
}

func newReaper() reaper { return reaper{make(chan time.Time, 1)} }

// notLaterThan has the reaper look at t at the latest; the zero time changes nothing.
func (r reaper) notLaterThan(t time.Time) {
	if t.IsZero() {
		return
	}
	for {
		select {
		case r.earlier <- t:
			return
		case waiting := <-r.earlier: // nobody has looked yet: the earlier of the two counts
			if waiting.Before(t) {
				t = waiting
			}
		}
	}
}

// lease notes until when the resources of a response are to be had, and returns the earliest of these times. A resource
// that comes without TTL does not expire any more; a heart-beat, which has no body, extends what there is. Without a TTL, resources
// of the state of the world come without the wrapper that names them, too. A heart-beat for what has gone for want of one does not bring
// it back: the control plane is to send it again.
func (s *subscription) lease(u *Update, now time.Time) (earliest time.Time) {
	for i := range u.Resources {
		r := &u.Resources[i]
		switch {
		case r.Body == nil && s.expired[r.Name]:
			s.missed[r.Name], s.dirty = true, true
		case r.TTL > 0 && r.Name != "":
			at := now.Add(r.TTL)
			s.expiries[r.Name] = at
			if earliest.IsZero() || at.Before(earliest) {
				earliest = at
			}
		case len(s.expiries) == 0 || r.TTL > 0 || r.Body == nil:
		case r.Name != "":
			delete(s.expiries, r.Name)
		default:
			delete(s.expiries, r.PeekName())
		}
	}
	return earliest
}

// reap removes resources whose TTL ran out, until ctx ends. It goes on while there is no stream: that is when resources
// are to expire.
func (m *Mux) reap(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var next time.Time // zero: nothing to wait for
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-m.reaper.earlier:
			if next.IsZero() || t.Before(next) {
				next = t
			}
		case <-timer.C:
			next = m.expire(ctx, time.Now())
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// expire removes what is due, type by type, and returns when the next resource is; the zero time when none is.
func (m *Mux) expire(ctx context.Context, now time.Time) (next time.Time) {
	m.applying.Lock()
	defer m.applying.Unlock()
	m.mu.Lock()
	var updates []Update
	for _, t := range m.typesInOrder() {
		s := m.types[t]
		var gone []string
		for name, at := range s.expiries {
			if !at.After(now) {
				gone = append(gone, name)
				s.forget(name) // the control plane must send it again after a reconnection
				s.expired[name] = true
			} else if next.IsZero() || at.Before(next) {
				next = at
			}
		}
		if len(gone) > 0 {
			slices.Sort(gone)
			updates = append(updates, Update{Type: t, Version: s.version, Removed: gone, Expired: true})
		}
	}
	m.mu.Unlock()
	for _, u := range updates {
		m.opt.Log.Warn("resources expired: the control plane has not renewed them within their TTL", "type", u.Type, "names", u.Removed)
		if err := m.opt.Handler.Update(ctx, u); err != nil {
			m.opt.Log.Error("remove expired resources", "type", u.Type, "error", err)
		}
	}
	return next
}

// returned forgets what expired as far as a response, told by the resources in it, brought it back or shows that it is gone for good.
func (s *subscription) returned(u *Update, delta bool) {
	if len(s.expired) == 0 {
		return
	}
	for i := range u.Resources {
		switch r := &u.Resources[i]; {
		case r.Body == nil:
		case delta:
			delete(s.expired, r.Name)
			delete(s.missed, r.Name)
		default: // of the state of the world, the rest comes along
			clear(s.expired)
			clear(s.missed)
			return
		}
	}
	if u.Full {
		clear(s.expired)
		clear(s.missed)
	}
	for _, name := range u.Removed {
		delete(s.expired, name)
		delete(s.missed, name)
	}
}

// recall asks a delta control plane for what is missed: subscribing to what a wildcard or a collection holds has it sent again. A
// name that is subscribed is left first, by the requests that the caller makes.
func (s *subscription) recall(typeURL string) (out []request) {
	var names []string
	for name := range s.missed {
		if s.names[name] {
			s.again[name], s.changed[name] = true, true
		} else {
			names = append(names, name)
		}
	}
	clear(s.missed)
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []request{deltaRequest{&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names}}}
}
