package store

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
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
	// Warnings tell what of a dynamic resource has no effect.
	Warnings []translate.Warning
	// unknown counts the fields that Raw is without, since no message has them.
	unknown int
	hash    uint64
	// needs are what the value depends on, each of them acquired; wait is for those of them that have not settled.
	needs []dependency
	wait  *waiter
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
	// lease ends the use of what is there unless it is confirmed in time; nil is none.
	lease *time.Timer
}

// table holds the resources of one type. Guarded by Store.mu. What it does for one resource costs the same however many
// there are.
type table[M comparable] struct {
	// typeURL is that of the resources.
	typeURL string
	slots   map[string]*Slot[M]
	// warming counts the slots that warm. ready are those of them that wait for nothing more.
	warming int
	ready   queue
	// published are the active resources.
	published model.Set[M]
	// needs lists what a value depends on.
	needs func(M) []dependency
	// moved is told of each change of what is active, nil for nothing; it may be nil.
	moved func(old, now M)
	// form makes what is published of what is active; nil publishes that.
	form func(M) M
}

func newTable[M comparable](typeURL string, needs func(M) []dependency) *table[M] {
	return &table[M]{typeURL: typeURL, slots: map[string]*Slot[M]{}, ready: queue{typeURL: typeURL}, needs: needs}
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
		t.renew(s, e)
		return false
	}
	e.wait = &waiter{name: name, queue: &t.ready}
	e.needs = t.needs(e.Value)
	for _, d := range e.needs {
		deps.acquire(d)
		deps.await(d, e.wait)
		deps.use(d, key{t.typeURL, name}, 1)
	}
	if s.Warming == nil {
		t.warming++
	}
	t.drop(deps, s.Warming)
	s.Warming = e
	if e.wait.left == 0 {
		t.ready.add(e.wait)
	}
	return true
}

// waits tells a resource whose newest form waits for others.
func (t *table[M]) waits(name string) bool {
	s := t.slots[name]
	return s != nil && s.Warming != nil && s.Warming.wait.left > 0
}

// renew gives the newest form of a resource what e, of a response that did not change its value, tells beside that.
func (t *table[M]) renew(s *Slot[M], e *Entry[M]) {
	form := &s.Active
	if s.Warming != nil {
		form = &s.Warming
	}
	next := **form // a dump may be looking at the entry
	next.Raw, next.Version, next.Updated, next.Warnings, next.unknown = e.Raw, e.Version, e.Updated, e.Warnings, e.unknown
	*form = &next
}

// drop releases what a form of a resource depended on.
func (t *table[M]) drop(deps *dependencies, e *Entry[M]) {
	if e == nil {
		return
	}
	e.wait.end()
	for _, d := range e.needs {
		deps.giveUp(d, e.wait)
		deps.use(d, key{t.typeURL, e.wait.name}, -1)
		deps.release(d)
	}
}

// promote makes active what became ready.
func (t *table[M]) promote(deps *dependencies) {
	for _, w := range t.ready.take() {
		s := t.slots[w.name]
		if s == nil || s.Warming == nil || s.Warming.wait != w {
			continue // replaced or removed while it waited
		}
		t.drop(deps, s.Active)
		old := s.Active
		s.Active, s.Warming = s.Warming, nil
		w.end()
		t.warming--
		t.tell(old, s.Active)
		value := s.Active.Value
		if t.form != nil {
			value = t.form(value)
		}
		t.published = t.published.With(w.name, value)
	}
}

// present publishes another form of an active resource.
func (t *table[M]) present(name string, form func(M) M) {
	if s := t.slots[name]; s != nil && s.Active != nil {
		t.published = t.published.With(name, form(s.Active.Value))
	}
}

// tell calls moved, if there is one.
func (t *table[M]) tell(old, now *Entry[M]) {
	if t.moved == nil {
		return
	}
	var a, b M
	if old != nil {
		a = old.Value
	}
	if now != nil {
		b = now.Value
	}
	t.moved(a, b)
}

// remove forgets a resource and tells whether it was there.
func (t *table[M]) remove(deps *dependencies, name string) bool {
	s := t.slots[name]
	if s == nil {
		return false
	}
	t.drop(deps, s.Active)
	t.drop(deps, s.Warming)
	s.lend(nil)
	delete(t.slots, name)
	if s.Warming != nil {
		t.warming--
	}
	t.published = t.published.Without(name)
	t.tell(s.Active, nil)
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

// list returns copies of the slots in order of their names.
func (t *table[M]) list() []Slot[M] {
	out := make([]Slot[M], 0, len(t.slots))
	for _, name := range slices.Sorted(maps.Keys(t.slots)) {
		out = append(out, *t.slots[name])
	}
	return out
}
