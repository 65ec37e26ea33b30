package model

import (
	"iter"
	"math/bits"
	"slices"
)

// Set is an immutable set of resources by name: With and Without return another set that shares all but the path to what
// differs, so a change of one in a hundred thousand costs as much as one of ten, and two sets are compared in the time of
// their difference. The zero value is empty and ready to use; a copy is the same set. Reading needs no lock.
//
// It is a hash trie of 32-way branches (P. Bagwell, Ideal Hash Trees).
type Set[V comparable] struct {
	root *setNode[V]
	size int
}

// setNode is a branch when bitmap is not 0, otherwise a leaf.
type setNode[V comparable] struct {
	// bitmap has a bit for each child of a branch.
	bitmap   uint32
	children []*setNode[V]
	// hash, name and value are those of a leaf; next are others with the same hash.
	hash  uint64
	name  string
	value V
	next  *setNode[V]
}

const (
	setBits = 5
	setMask = 1<<setBits - 1
)

// SetOf returns the set of what m holds.
func SetOf[V comparable](m map[string]V) Set[V] {
	var s Set[V]
	for name, v := range m {
		s = s.With(name, v)
	}
	return s
}

// Get returns the value of a name, the zero value when it is not there. It does not allocate.
func (s Set[V]) Get(name string) V {
	v, _ := s.Lookup(name)
	return v
}

// Lookup returns the value of a name and whether it is there. It does not allocate.
func (s Set[V]) Lookup(name string) (v V, ok bool) {
	if s.root == nil {
		return v, false
	}
	hash := hashName(name)
	n := s.root
	for rest := hash; n.bitmap != 0; rest >>= setBits {
		bit := uint32(1) << (rest & setMask)
		if n.bitmap&bit == 0 {
			return v, false
		}
		n = n.children[bits.OnesCount32(n.bitmap&(bit-1))]
	}
	if n.hash != hash {
		return v, false
	}
	for ; n != nil; n = n.next {
		if n.name == name {
			return n.value, true
		}
	}
	return v, false
}

// Len is the number of names.
func (s Set[V]) Len() int { return s.size }

// Same tells whether both are the same set, without looking inside: true means equal, false may be equal too.
func (s Set[V]) Same(other Set[V]) bool { return s.root == other.root }

// All yields every name with its value. The order depends on the names alone and means nothing; see Sorted.
func (s Set[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		s.root.each(func(n *setNode[V]) bool { return yield(n.name, n.value) })
	}
}

// Names returns the names in order.
func (s Set[V]) Names() []string {
	names := make([]string, 0, s.size)
	for name := range s.All() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Sorted yields every name with its value, in order of the names.
func (s Set[V]) Sorted() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, name := range s.Names() {
			if !yield(name, s.Get(name)) {
				return
			}
		}
	}
}

// With returns the set with a value under a name, in place of what was there.
func (s Set[V]) With(name string, v V) Set[V] {
	leaf := &setNode[V]{hash: hashName(name), name: name, value: v}
	if s.root == nil {
		return Set[V]{leaf, 1}
	}
	root, added := s.root.with(leaf, 0)
	if added {
		s.size++
	}
	return Set[V]{root, s.size}
}

// Without returns the set without a name; the same one when it is not there.
func (s Set[V]) Without(name string) Set[V] {
	if _, ok := s.Lookup(name); !ok {
		return s
	}
	return Set[V]{s.root.without(name, hashName(name), 0), s.size - 1}
}

// Change is how a name differs between two sets; the zero value of V stands for its absence.
type Change[V comparable] struct{ Old, New V }

// Changes yields the names whose values differ between an older set and this one. Of sets that came from one another it
// looks at what differs only.
func (s Set[V]) Changes(old Set[V]) iter.Seq2[string, Change[V]] {
	return func(yield func(string, Change[V]) bool) { differ(old.root, s.root, yield) }
}

// differ yields what differs between two subtrees of one place and tells whether to go on.
func differ[V comparable](old, now *setNode[V], yield func(string, Change[V]) bool) bool {
	switch {
	case old == now:
		return true
	case old != nil && now != nil && old.bitmap != 0 && now.bitmap != 0:
		for all := old.bitmap | now.bitmap; all != 0; all &= all - 1 {
			bit := all & -all
			if !differ(old.child(bit), now.child(bit), yield) {
				return false
			}
		}
		return true
	}
	// One side at least is a few names of one hash.
	return now.each(func(n *setNode[V]) bool {
		was, _ := old.under(n)
		return was == n.value || yield(n.name, Change[V]{was, n.value})
	}) && old.each(func(n *setNode[V]) bool {
		if _, kept := now.under(n); kept {
			return true
		}
		var none V
		return yield(n.name, Change[V]{n.value, none})
	})
}

// under finds the name of leaf in a subtree, whose place the hash does not tell.
func (n *setNode[V]) under(leaf *setNode[V]) (v V, ok bool) {
	n.each(func(at *setNode[V]) bool {
		if at.hash == leaf.hash && at.name == leaf.name {
			v, ok = at.value, true
		}
		return !ok
	})
	return v, ok
}

func (n *setNode[V]) child(bit uint32) *setNode[V] {
	if n.bitmap&bit == 0 {
		return nil
	}
	return n.children[bits.OnesCount32(n.bitmap&(bit-1))]
}

// each visits the leaves until f returns false, and tells whether it never did.
func (n *setNode[V]) each(f func(*setNode[V]) bool) bool {
	if n == nil {
		return true
	}
	if n.bitmap != 0 {
		for _, c := range n.children {
			if !c.each(f) {
				return false
			}
		}
		return true
	}
	for ; n != nil; n = n.next {
		if !f(n) {
			return false
		}
	}
	return true
}

// with puts leaf into the subtree, of whose hash shift bits led here, and tells whether its name is new.
func (n *setNode[V]) with(leaf *setNode[V], shift uint) (*setNode[V], bool) {
	if n.bitmap == 0 {
		if n.hash == leaf.hash {
			added := true
			for at := n; at != nil; at = at.next { // the others of this hash, in a new chain
				if at.name == leaf.name {
					added = false
					continue
				}
				leaf.next = &setNode[V]{hash: at.hash, name: at.name, value: at.value, next: leaf.next}
			}
			return leaf, added
		}
		n = &setNode[V]{bitmap: 1 << (n.hash >> shift & setMask), children: []*setNode[V]{n}}
	}
	bit := uint32(1) << (leaf.hash >> shift & setMask)
	at := bits.OnesCount32(n.bitmap & (bit - 1))
	next := &setNode[V]{bitmap: n.bitmap | bit}
	if n.bitmap&bit == 0 {
		next.children = make([]*setNode[V], len(n.children)+1)
		copy(next.children, n.children[:at])
		copy(next.children[at+1:], n.children[at:])
		next.children[at] = leaf
		return next, true
	}
	next.children = slices.Clone(n.children)
	child, added := n.children[at].with(leaf, shift+setBits)
	next.children[at] = child
	return next, added
}

// without takes a name that is there out of the subtree; nil when nothing is left.
func (n *setNode[V]) without(name string, hash uint64, shift uint) *setNode[V] {
	if n.bitmap == 0 {
		var rest *setNode[V]
		for at := n; at != nil; at = at.next {
			if at.name != name {
				rest = &setNode[V]{hash: at.hash, name: at.name, value: at.value, next: rest}
			}
		}
		return rest
	}
	bit := uint32(1) << (hash >> shift & setMask)
	at := bits.OnesCount32(n.bitmap & (bit - 1))
	child := n.children[at].without(name, hash, shift+setBits)
	switch {
	case child != nil && child.bitmap == 0 && len(n.children) == 1:
		return child // a leaf needs no branch around it
	case child != nil:
		next := &setNode[V]{bitmap: n.bitmap, children: slices.Clone(n.children)}
		next.children[at] = child
		return next
	case len(n.children) == 1:
		return nil
	case len(n.children) == 2 && n.children[1-at].bitmap == 0:
		return n.children[1-at]
	}
	return &setNode[V]{bitmap: n.bitmap &^ bit, children: slices.Delete(slices.Clone(n.children), at, at+1)}
}

// hashName hashes a name, eight bytes at a time. Equal in every process, so that iteration is too.
func hashName(s string) uint64 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	h := uint64(len(s)) * k0
	for len(s) >= 8 {
		h = mix(h^word(s), k1)
		s = s[8:]
	}
	var tail uint64
	for i := range len(s) {
		tail |= uint64(s[i]) << (8 * i)
	}
	return mix(mix(h^tail, k1), k0)
}

// mix spreads both halves of a product over one word.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b)
	return hi ^ lo
}

// word reads eight bytes, which the compiler makes one load.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
