package controlplane

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// set is a consistent set of resources by type. It is not written once made.
type set struct {
	tables map[string]*table
}

// table holds the resources of one type. It is not written once made.
type table struct {
	items map[string]*item
	// version is a hash over all contents, which does not depend on the order; not empty even where there is nothing.
	version string
	sum     digest
	// sorted lists the items by name, when asked for.
	sorted func() []*item
	// aliases finds items by their further names, when asked for.
	aliases func() map[string]*item
	// collections lists the items of each collection, when asked for.
	collections func() map[string][]*item
}

// TypeSummary says what is served of one type.
type TypeSummary struct {
	// Type is the short name, such as Cluster; Version the hash of the content.
	Type, Version string
	// Names in order.
	Names []string
}

// newTable takes items over.
func newTable(items map[string]*item) *table {
	t := &table{items: items}
	for _, i := range items {
		t.sum.toggle(i.sum)
	}
	t.version = t.sum.String()
	t.sorted = sync.OnceValue(func() []*item {
		return slices.SortedFunc(maps.Values(items), func(a, b *item) int { return strings.Compare(a.name, b.name) })
	})
	t.aliases = sync.OnceValue(func() map[string]*item {
		out := map[string]*item{}
		for _, i := range items {
			for _, a := range i.aliases {
				out[a] = i
			}
		}
		return out
	})
	t.collections = sync.OnceValue(func() map[string][]*item { return membersOf(items) })
	return t
}

// versions are those of all items by name.
func (t *table) versions() map[string]string {
	out := make(map[string]string, len(t.items))
	for name, i := range t.items {
		out[name] = i.version
	}
	return out
}

// toggle adds the digest of an item to that of a table, or takes it away.
func (d *digest) toggle(other digest) {
	for i := range d {
		d[i] ^= other[i]
	}
}

// String is the digest as a version.
func (d digest) String() string { return hex.EncodeToString(d[:6]) }

// setBuilder collects the items of a set.
type setBuilder map[string]map[string]*item

// add puts an item in, which must have a name of its own.
func (b setBuilder) add(i *item) error {
	byName := b[i.kind.url]
	if byName == nil {
		byName = map[string]*item{}
		b[i.kind.url] = byName
	}
	if other := byName[i.name]; other != nil {
		at := ""
		if other.origin != "" {
			at = ", at " + other.origin
		}
		return fmt.Errorf("serve %s: there is another one of that name%s", i.describe(), at)
	}
	byName[i.name] = i
	return nil
}

// build makes the set. Tables that are the same as in old, which may be nil, are shared with it.
func (b setBuilder) build(old *set) *set {
	s := &set{tables: make(map[string]*table, len(allKinds))}
	for _, k := range allKinds {
		t := newTable(b[k.url])
		if old != nil && old.tables[k.url].sum == t.sum && len(old.tables[k.url].items) == len(t.items) {
			t = old.tables[k.url]
		}
		s.tables[k.url] = t
	}
	return s
}

// newSet checks messages and returns the set that they make.
func newSet(messages []proto.Message, old *set) (*set, error) {
	b := setBuilder{}
	var errs []error
	for _, m := range messages {
		it, err := unwrap(m)
		if err == nil {
			err = b.add(it)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	next := b.build(old)
	if errs := next.clashes(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return next, nil
}

// unwrap makes an item of a message that may be wrapped.
func unwrap(m proto.Message) (*item, error) {
	wrapper, ok := m.(*discoveryv3.Resource)
	if !ok {
		return newItem(m, nil)
	}
	content, err := wrapper.GetResource().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("serve Resource %q: %w", wrapper.GetName(), err)
	}
	return newItem(content, wrapper)
}

// step is one change of a table on the way from one set to another.
type step struct {
	url   string
	table *table
	// changed names the items that came, went or changed.
	changed []string
	// before is the table without the step.
	before *table
}

// steps lead from old, which may be nil, to next without a moment at which a client has a reference to what it was not
// told of yet: what is new comes before what refers to it (makes), what is gone goes after it (breaks).
func steps(old, next *set) (makes, breaks []step) {
	for _, k := range allKinds {
		from, to := emptyTable(), next.tables[k.url]
		if old != nil {
			from = old.tables[k.url]
		}
		if from == to {
			continue
		}
		changed, gone := differences(from, to)
		switch {
		case len(changed) == 0 && len(gone) == 0:
			continue
		case len(gone) == 0 || k.url == resource.ListenerType:
			// A listener that is gone frees its address at once, for those that come.
			makes = append(makes, step{k.url, to, append(changed, gone...), from})
			continue
		case len(changed) > 0:
			both := maps.Clone(to.items)
			for _, name := range gone {
				both[name] = from.items[name]
			}
			before := from
			from = newTable(both)
			makes = append(makes, step{k.url, from, changed, before})
		}
		breaks = append(breaks, step{k.url, to, gone, from})
	}
	return makes, breaks
}

func emptyTable() *table { return newTable(map[string]*item{}) }

// differences lists the names of items that differ or are new, and of those that are gone.
func differences(from, to *table) (changed, gone []string) {
	for name, i := range to.items {
		if was := from.items[name]; was == nil || was.sum != i.sum {
			changed = append(changed, name)
		}
	}
	for name := range from.items {
		if to.items[name] == nil {
			gone = append(gone, name)
		}
	}
	slices.Sort(changed)
	slices.Sort(gone)
	return changed, gone
}

func (s *set) summary() []TypeSummary {
	var out []TypeSummary
	for _, k := range allKinds {
		t := s.tables[k.url]
		if len(t.items) == 0 {
			continue
		}
		sum := TypeSummary{Type: k.short(), Version: t.version, Names: make([]string, 0, len(t.items))}
		for _, i := range t.sorted() {
			sum.Names = append(sum.Names, i.name)
		}
		out = append(out, sum)
	}
	return out
}

// String counts the resources of each type, with the version.
func (s *set) String() string {
	var parts []string
	for _, k := range allKinds {
		if t := s.tables[k.url]; len(t.items) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", len(t.items), k.short(), t.version))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// describeSets is the String of the sets of all groups.
func describeSets(sets map[string]*set) string {
	var parts []string
	for _, group := range slices.Sorted(maps.Keys(sets)) {
		text := sets[group].String()
		if group != everyone {
			text = group + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
