package model

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func name(i int) string { return fmt.Sprintf("outbound|80||service-%d.shop.svc.cluster.local", i) }

func full(n int) Set[*int] {
	var s Set[*int]
	for i := range n {
		s = s.With(name(i), &i)
	}
	return s
}

// TestSetAgainstMap does the same random changes to sets and to maps.
func TestSetAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s Set[int]
	m := map[string]int{}
	type version struct {
		set Set[int]
		all map[string]int
	}
	var versions []version
	for i := range 2000 {
		key := name(r.IntN(120))
		if r.IntN(3) == 0 {
			s = s.Without(key)
			delete(m, key)
		} else {
			v := 1 + r.IntN(5)
			s = s.With(key, v)
			m[key] = v
		}
		if s.Len() != len(m) {
			t.Fatalf("after %d changes: %d names, want %d", i, s.Len(), len(m))
		}
		if i%100 == 0 {
			versions = append(versions, version{s, maps.Clone(m)})
		}
	}
	for i, v := range versions {
		if d := cmp.Diff(v.all, maps.Collect(v.set.All())); d != "" {
			t.Fatalf("version %d was changed (-want +got):\n%s", i, d)
		}
		if !slices.Equal(v.set.Names(), slices.Sorted(maps.Keys(v.all))) {
			t.Errorf("version %d: names %v", i, v.set.Names())
		}
		for j, w := range versions {
			want := map[string]Change[int]{}
			for key := range v.all {
				if v.all[key] != w.all[key] {
					want[key] = Change[int]{v.all[key], w.all[key]}
				}
			}
			for key := range w.all {
				if _, ok := v.all[key]; !ok {
					want[key] = Change[int]{0, w.all[key]}
				}
			}
			if d := cmp.Diff(want, maps.Collect(w.set.Changes(v.set))); d != "" {
				t.Fatalf("changes from version %d to %d (-want +got):\n%s", i, j, d)
			}
		}
	}
}

func TestSetEmpty(t *testing.T) {
	var s Set[*int]
	if s.Get("a") != nil || s.Len() != 0 || len(s.Names()) != 0 || s.Without("a").Len() != 0 {
		t.Error("the zero set is not empty")
	}
	one := s.With("", new(int))
	if one.Get("") == nil || one.Get("a") != nil || !one.Without("").Same(s) {
		t.Error("the empty name is not a name like others")
	}
	if d := cmp.Diff([]string{"a", "b"}, SetOf(map[string]int{"b": 1, "a": 2}).Names()); d != "" {
		t.Error(d)
	}
	for key := range SetOf(map[string]int{"b": 1, "a": 2}).Sorted() {
		if key != "a" {
			t.Errorf("first is %q", key)
		}
		break
	}
}

// TestSetEqualHashes drives what names of one hash do, which real names hardly ever have.
func TestSetEqualHashes(t *testing.T) {
	root := &setNode[int]{hash: 7, name: "a", value: 1}
	root, _ = root.with(&setNode[int]{hash: 7, name: "b", value: 2}, 0)
	root, added := root.with(&setNode[int]{hash: 7, name: "c", value: 3}, 0)
	if !added {
		t.Error("c was there already")
	}
	old := root
	if root, added = root.with(&setNode[int]{hash: 7, name: "b", value: 4}, 0); added {
		t.Error("b was not there")
	}
	root, _ = root.with(&setNode[int]{hash: 7 + 1<<60, name: "far", value: 5}, 0) // differs in the last bits only
	got := map[string]int{}
	root.each(func(n *setNode[int]) bool { got[n.name] = n.value; return true })
	if d := cmp.Diff(map[string]int{"a": 1, "b": 4, "c": 3, "far": 5}, got); d != "" {
		t.Error(d)
	}
	changes := maps.Collect(Set[int]{root: root}.Changes(Set[int]{root: old}))
	if d := cmp.Diff(map[string]Change[int]{"b": {2, 4}, "far": {0, 5}}, changes); d != "" {
		t.Error(d)
	}
	root = root.without("far", 7+1<<60, 0)
	for _, key := range []string{"a", "c"} {
		root = root.without(key, 7, 0)
	}
	if root.bitmap != 0 || root.name != "b" || root.next != nil {
		t.Errorf("left is %+v", root)
	}
}

// TestSetCost pins that a change costs the same in a large set, and a look into one nothing.
func TestSetCost(t *testing.T) {
	value := new(int)
	cost := map[int]float64{}
	for _, size := range []int{100, 20_000} {
		s := full(size)
		cost[size] = testing.AllocsPerRun(100, func() {
			next := s.With(name(42), value)
			n := 0
			for range next.Changes(s) {
				n++
			}
			if n != 1 {
				t.Fatalf("%d changes", n)
			}
		})
		if n := testing.AllocsPerRun(100, func() { s.Get(name42) }); n != 0 {
			t.Errorf("Get allocates %v times", n)
		}
	}
	if cost[20_000] > cost[100]+8 {
		t.Errorf("allocations of a change by size: %v", cost)
	}
}

var name42 = name(42)

func BenchmarkSetGet(b *testing.B) {
	s := full(5000)
	for b.Loop() {
		s.Get(name42)
	}
}

func BenchmarkSetWith(b *testing.B) {
	s := full(20_000)
	v := new(int)
	for b.Loop() {
		s.With(name42, v)
	}
}
