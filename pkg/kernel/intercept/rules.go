package intercept

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// rules are the entries of weir_capture and weir_exclude, changed one by one. They are guarded by Interceptor.mu, but for names.
//
// Each change of an entry is atomic. A change of several is made in an order that gives every destination either its old rule
// or its new one at any moment, never a third: what is new goes in from the most specific to the least specific, then what is
// old goes out from the least specific to the most specific. See docs/decisions/0009-offload.md.
type rules struct {
	services *services
	covered  *covered
	capture  table
	exclude  table
	nextID   uint32
	byID     map[uint32]steer.Rule
	names    *listenerNames
}

// table is one of the maps and what is in it.
type table struct {
	name string
	*ebpf.Map
	has map[wirePrefix]entry
}

// entry is a rule as it was written.
type entry struct {
	rule  steer.Rule
	value wireRule
}

func newRules(o *objects, s *services) *rules {
	return &rules{
		services: s,
		covered:  newCovered(o.Covered),
		capture:  table{CaptureMap, o.Capture, make(map[wirePrefix]entry)},
		exclude:  table{ExcludeMap, o.Exclude, make(map[wirePrefix]entry)},
		byID:     make(map[uint32]steer.Rule),
		names:    newListenerNames(),
	}
}

// edit is one step of a change.
type edit struct {
	in     *table
	rule   steer.Rule
	remove bool
}

// edits puts the steps of a change in their order.
func (r *rules) edits(c *steer.Change) []edit {
	var steps []edit
	add := func(in *table, rules []steer.Rule, remove bool) {
		rules = slices.Clone(rules)
		slices.SortStableFunc(rules, func(a, b steer.Rule) int {
			if remove {
				a, b = b, a
			}
			return moreSpecific(a, b)
		})
		for _, rule := range rules {
			steps = append(steps, edit{in, rule, remove})
		}
	}
	add(&r.exclude, c.AddedExcludes, false)
	add(&r.capture, slices.Concat(c.Added, c.Altered), false)
	add(&r.capture, c.Removed, true)
	add(&r.exclude, c.RemovedExcludes, true)
	return steps
}

// moreSpecific orders rules as decide() prefers them.
func moreSpecific(a, b steer.Rule) int {
	return cmp.Or(
		cmp.Compare(min(b.Port, 1), min(a.Port, 1)),
		cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()),
	)
}

// change makes the edits. When one fails, those before it are taken back in reverse, and the rules are what they were. Where there is
// no room for what is new, nothing is tried: it would take seconds with a full map.
func (r *rules) change(c *steer.Change) error {
	if err := errors.Join(r.capture.room(c.Added), r.exclude.room(c.AddedExcludes)); err != nil {
		return err
	}
	steps := r.edits(c)
	var undo []func() error
	for _, step := range steps {
		back, err := r.edit(step)
		if err != nil {
			for _, f := range slices.Backward(undo) {
				err = errors.Join(err, f())
			}
			return err
		}
		undo = append(undo, back)
	}
	return nil
}

// room is a *FullError when the map cannot hold these rules beside what is in it.
func (t *table) room(added []steer.Rule) error {
	free := int(t.MaxEntries()) - len(t.has)
	if len(added) <= free {
		return nil
	}
	for _, rule := range added {
		if _, found := t.has[prefixKey(rule)]; !found {
			free--
		}
	}
	if free >= 0 {
		return nil
	}
	return fmt.Errorf("write %d rules more: %w", len(added), &FullError{Map: t.name, Capacity: t.MaxEntries(), Err: syscall.ENOSPC})
}

// edit makes one step and returns what undoes it.
func (r *rules) edit(step edit) (undo func() error, err error) {
	rule := step.rule
	if !rule.Prefix.IsValid() || rule.Prefix != rule.Prefix.Masked() || rule.Prefix.Addr().Is4In6() {
		return nil, fmt.Errorf("write rule from %q: %s is not a masked prefix of one family", rule.Origin, rule.Prefix)
	}
	key := prefixKey(rule)
	old, found := step.in.has[key]
	restore := func() error { return r.drop(step.in, key) }
	if found {
		restore = func() error { return r.put(step.in, key, old.rule) }
	}
	if step.remove {
		if !found {
			return func() error { return nil }, nil
		}
		return restore, r.drop(step.in, key)
	}
	return restore, r.put(step.in, key, rule)
}

// put writes an entry. One of the same key keeps its id.
func (r *rules) put(in *table, key wirePrefix, rule steer.Rule) error {
	old, found := in.has[key]
	id := old.value.Rule
	if !found {
		r.nextID++
		id = r.nextID
	}
	value := wireRule{Action: uint32(rule.Action), Rule: id}
	if rule.Service != "" {
		number, err := r.services.refer(rule.Service)
		if err != nil {
			return err
		}
		value.Service = number
	}
	value.Listener = r.names.use(rule.Listener)
	if !found || value != old.value {
		if err := r.write(in, key, rule, value, !found); err != nil {
			r.unuse(rule)
			return fmt.Errorf("write rule %s %s port %d: %w", rule.Prefix, rule.Protocol, rule.Port, err)
		}
	}
	if found {
		r.unuse(old.rule)
	}
	in.has[key], r.byID[id] = entry{rule, value}, rule
	return nil
}

// write puts an entry into the map.
func (r *rules) write(in *table, key wirePrefix, rule steer.Rule, value wireRule, added bool) error {
	if added {
		if err := r.covered.add(rule.Prefix, rule.Port); err != nil {
			return err
		}
	}
	err := full(in.Put(&key, &value), in.name, in.Map)
	if err != nil && added {
		err = errors.Join(err, r.covered.remove(rule.Prefix, rule.Port))
	}
	return err
}

func (r *rules) drop(in *table, key wirePrefix) error {
	old := in.has[key]
	if err := in.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete rule %s %s port %d: %w", old.rule.Prefix, old.rule.Protocol, old.rule.Port, err)
	}
	delete(in.has, key)
	delete(r.byID, old.value.Rule)
	r.unuse(old.rule)
	return r.covered.remove(old.rule.Prefix, old.rule.Port)
}

// unuse lets go of what an entry referred to.
func (r *rules) unuse(rule steer.Rule) {
	if rule.Service != "" {
		r.services.unrefer(rule.Service)
	}
	r.names.unuse(rule.Listener)
}

// listenerNames numbers the listeners that rules are for. A number is never given twice. One that is no longer used is known for
// some time yet, for connections that are on their way.
type listenerNames struct {
	byID  sync.Map // uint32 to string
	used  map[string]*usedName
	next  uint32
	stale [2][]uint32 // not used any more: since the last sweep, and since the one before
}

type usedName struct {
	id    uint32
	rules int
}

func newListenerNames() *listenerNames { return &listenerNames{used: make(map[string]*usedName)} }

// use gives the number of a listener for one more rule; no name is number 0.
func (l *listenerNames) use(name string) uint32 {
	if name == "" {
		return 0
	}
	have := l.used[name]
	if have == nil {
		l.next++
		have = &usedName{id: l.next}
		l.used[name] = have
		l.byID.Store(have.id, name)
	}
	have.rules++
	return have.id
}

func (l *listenerNames) unuse(name string) {
	have := l.used[name]
	if have == nil {
		return
	}
	if have.rules--; have.rules == 0 {
		delete(l.used, name)
		l.stale[0] = append(l.stale[0], have.id)
	}
}

// sweep forgets the numbers that have not been used since the sweep before the last.
func (l *listenerNames) sweep() {
	for _, id := range l.stale[1] {
		l.byID.Delete(id)
	}
	l.stale[1], l.stale[0] = l.stale[0], nil
}

// name returns the listener of a number, or "". It may be called without a lock.
func (l *listenerNames) name(id uint32) string {
	name, _ := l.byID.Load(id)
	text, _ := name.(string)
	return text
}
