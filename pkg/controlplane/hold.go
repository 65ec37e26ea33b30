package controlplane

import (
	"maps"
	"time"
)

// reprieve is for how long what is gone is kept for a client that does not answer what it was sent before. A burst of changes
// can hold a client back twice, and one that rejects what it gets again and again answers later and later.
const reprieve = 2 * time.Second

// streamKey identifies a stream by its channel of answers. The streams of single types of the state of the world have one
// for each request, so nothing is known of their other types, and the protocol promises no order among them either.
type streamKey any

// stream is one that has answers to give, or from which removals are held back.
type stream struct {
	group string
	// owes are the types of which it was sent something that it has neither accepted nor rejected.
	owes map[string]struct{}
	// kept is what the stream sees while removals are held back: what is new together with what is gone. nil is what its
	// group sees.
	kept  *view
	timer *time.Timer
}

func (w *watch) key() streamKey {
	if w.answers != nil {
		return w.answers
	}
	return w.deltaAnswers
}

// answered notes that the client answered what it was sent of a type. s may be nil.
func (s *stream) answered(url string) {
	if s != nil {
		delete(s.owes, url)
	}
}

// owes notes that the client of w was sent something.
func (f *fleet) owes(w *watch) {
	s := f.streams[w.key()]
	if s == nil {
		s = &stream{group: w.group, owes: map[string]struct{}{}}
		f.streams[w.key()] = s
	}
	s.owes[w.url] = struct{}{}
}

// viewOf is what the client of w sees.
func (f *fleet) viewOf(w *watch) *view {
	if s := f.streams[w.key()]; s != nil && s.kept != nil {
		return s.kept
	}
	return f.view(w.group)
}

// settle lets a stream go that owes nothing any more.
func (f *fleet) settle(key streamKey) {
	s := f.streams[key]
	switch {
	case s == nil || len(s.owes) > 0:
	case s.kept == nil:
		delete(f.streams, key)
	default:
		f.release(key, s, true)
	}
}

// forget takes back a watch, which the client replaces, or whose stream ended.
func (f *fleet) forget(w *watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.viewOf(w).watches[w.url], w)
	s := f.streams[w.key()]
	if s == nil {
		return
	}
	s.answered(w.url)
	if len(s.owes) > 0 || s.kept != nil && !s.kept.idle() {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	delete(f.streams, w.key())
}

// idle tells that nobody waits for changes.
func (v *view) idle() bool {
	for _, watches := range v.watches {
		if len(watches) > 0 {
			return false
		}
	}
	return true
}

// holdBack gives the streams of v that owe answers a view of their own, in which what breaks take away is still there. What
// a client still uses according to what it last accepted is not taken from it so.
func (f *fleet) holdBack(v *view, to *set, breaks []step) {
	kept := &set{tables: maps.Clone(to.tables)}
	for _, s := range breaks {
		kept.tables[s.url] = s.before
	}
	for key, s := range f.streams {
		if s.kept == nil && len(s.owes) > 0 && (v.of == key || v.of == nil && f.view(s.group) == v) {
			s.kept = &view{set: kept, watches: map[string]map[*watch]struct{}{}, of: key}
			s.timer = time.AfterFunc(reprieve, func() { f.expire(key, s) })
		}
	}
	for _, watches := range v.watches {
		for w := range watches {
			if s := f.streams[w.key()]; s != nil && s.kept != nil {
				delete(watches, w)
				s.kept.add(w)
			}
		}
	}
}

// expire ends the waiting for a client.
func (f *fleet) expire(key streamKey, s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams[key] == s && s.kept != nil {
		f.release(key, s, false)
	}
}

// release tells a stream what was held back from it, and what changed since, and puts it among its group again. When
// patient, it may be held back anew.
func (f *fleet) release(key streamKey, s *stream, patient bool) {
	s.timer.Stop()
	own := s.kept
	s.kept, s.timer = nil, nil
	if len(s.owes) == 0 {
		delete(f.streams, key)
	}
	all := f.view(s.group)
	f.advance(own, all.set, patient)
	for _, watches := range own.watches {
		for w := range watches {
			all.add(w)
		}
	}
}
