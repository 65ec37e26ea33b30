package store

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
)

// Entry is one form of a resource: the one that serves, or the one that warms up to replace it. It is not written once a
// table holds it.
type Entry[M any] struct {
	Value M
	// Raw is the message as it came, for /config_dump.
	Raw     *anypb.Any
	Version string
	Updated time.Time
	// Static came from the bootstrap.
	Static bool
	hash   uint64
}

// Failure is the last rejected attempt to change a resource (envoy.admin.v3.UpdateFailureState).
type Failure struct {
	Raw     *anypb.Any
	When    time.Time
	Details string
	Version string
}

// Slot is all that is known about a resource under one name.
type Slot[M any] struct {
	Name            string
	Active, Warming *Entry[M]
	Failure         *Failure
}

// table holds the resources of one type. Guarded by Store.mu.
type table[M any] struct {
	slots   map[string]*Slot[M]
	warming map[string]bool
	// published is what the current snapshot holds; never written once published.
	published map[string]M
	dirty     bool
	// needs lists what a value depends on.
	needs func(M) []dependency
}

func newTable[M any](needs func(M) []dependency) *table[M] {
	return &table[M]{slots: map[string]*Slot[M]{}, warming: map[string]bool{}, published: map[string]M{}, needs: needs}
}

func (t *table[M]) slot(name string) *Slot[M] {
	s := t.slots[name]
	if s == nil {
		s = &Slot[M]{Name: name}
		t.slots[name] = s
	}
	return s
}

// latest is the newest accepted form of a resource, nil when there is none.
func (t *table[M]) latest(name string) *Entry[M] {
	s := t.slots[name]
	switch {
	case s == nil:
		return nil
	case s.Warming != nil:
		return s.Warming
	}
	return s.Active
}

// put makes e the newest form of a resource, which warms until promote. An unchanged content only gets the new version.
// It tells whether anything changed.
func (t *table[M]) put(deps *dependencies, name string, e *Entry[M]) bool {
	s := t.slot(name)
	s.Failure = nil
	if now := t.latest(name); now != nil && now.hash == e.hash {
		// A dump may be looking at the entry.
		next := *now
		next.Version, next.Updated = e.Version, e.Updated
		if s.Warming != nil {
			s.Warming = &next
		} else {
			s.Active = &next
		}
		return false
	}
	for _, d := range t.needs(e.Value) {
		deps.acquire(d)
	}
	t.drop(deps, s.Warming)
	s.Warming = e
	t.warming[name] = true
	return true
}

// drop releases what a form of a resource depended on.
func (t *table[M]) drop(deps *dependencies, e *Entry[M]) {
	if e == nil {
		return
	}
	for _, d := range t.needs(e.Value) {
		deps.release(d)
	}
}

// promote makes active what is ready and returns the names.
func (t *table[M]) promote(deps *dependencies, ready func(M) bool) []string {
	var promoted []string
	for name := range t.warming {
		s := t.slots[name]
		if !ready(s.Warming.Value) {
			continue
		}
		t.drop(deps, s.Active)
		s.Active, s.Warming = s.Warming, nil
		delete(t.warming, name)
		promoted = append(promoted, name)
	}
	t.dirty = t.dirty || len(promoted) > 0
	slices.Sort(promoted)
	return promoted
}

// remove forgets a resource and tells whether it was there.
func (t *table[M]) remove(deps *dependencies, name string) bool {
	s := t.slots[name]
	if s == nil {
		return false
	}
	t.drop(deps, s.Active)
	t.drop(deps, s.Warming)
	delete(t.slots, name)
	delete(t.warming, name)
	t.dirty = true
	return s.Active != nil || s.Warming != nil
}

// dynamicNames are the resources that did not come from the bootstrap, those included of which no form was ever accepted.
func (t *table[M]) dynamicNames() []string {
	var names []string
	for name := range t.slots {
		if t.dynamic(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// dynamic tells a resource that did not come from the bootstrap.
func (t *table[M]) dynamic(name string) bool {
	if t.slots[name] == nil {
		return false
	}
	e := t.latest(name)
	return e == nil || !e.Static
}

// snapshot returns the active resources, the same map as before when nothing changed.
func (t *table[M]) snapshot() map[string]M {
	if !t.dirty {
		return t.published
	}
	next := make(map[string]M, len(t.slots))
	for name, s := range t.slots {
		if s.Active != nil {
			next[name] = s.Active.Value
		}
	}
	t.published, t.dirty = next, false
	return next
}

// list returns copies of the slots in order of their names.
func (t *table[M]) list() []Slot[M] {
	out := make([]Slot[M], 0, len(t.slots))
	for _, name := range slices.Sorted(maps.Keys(t.slots)) {
		out = append(out, *t.slots[name])
	}
	return out
}
