package translate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Numbers of fields in ClusterLoadAssignment and LocalityLbEndpoints.
const (
	assignmentLocalities protowire.Number = 2
	localityEndpoints    protowire.Number = 2
	localityList         protowire.Number = 7 // load_balancer_endpoints
	localityLEDS         protowire.Number = 8 // leds_cluster_locality_config
)

// Reassignment is an assignment that differs from the one before in few endpoints. Only these are to be decoded, checked and
// translated: what is the same as before, byte by byte, means the same. It is good until the next one of its Reassigner.
type Reassignment struct {
	was *model.LoadAssignment
	new []byte
	// Before and After are serialised assignments with those endpoints only that are not in the other one.
	Before, After []byte
	// kept has, for each locality, where each endpoint was before; -1 for those in After.
	kept [][]int
}

// Reassigner compares assignments. Its memory is used again for each, since a control plane may change a thousand endpoints a
// second. The zero value is ready; it is of one goroutine.
type Reassigner struct {
	last      Reassignment
	old, next splitMessage
	where     []int // backs kept
}

// Compare compares two serialised assignments, the first of which was translated to was. It returns nil when the second has to
// be looked at as a whole.
func (r *Reassigner) Compare(was *model.LoadAssignment, before, after []byte) *Reassignment {
	defer r.forget()
	old, next := &r.old, &r.next
	if !old.split(before) || !next.split(after) || len(old.localities) != len(was.Localities) || len(next.localities) != len(old.localities) {
		return nil
	}
	out := &r.last
	out.was, out.new = was, after
	out.Before, out.After = append(out.Before[:0], old.rest...), append(out.After[:0], next.rest...)
	out.kept, r.where = out.kept[:0], r.where[:0]
	for i := range next.localities {
		a, b := &old.localities[i], &next.localities[i]
		if len(a.endpoints) != len(was.Localities[i].Endpoints) {
			return nil
		}
		begin := len(r.where)
		r.where = compareEndpoints(r.where, a, b)
		out.kept = append(out.kept, r.where[begin:len(r.where):len(r.where)])
		out.Before = appendLocality(out.Before, a.rest)
		out.After = appendLocality(out.After, b.rest)
	}
	return out
}

// forget lets go of the messages that were compared.
func (r *Reassigner) forget() {
	r.old.clear()
	r.next.clear()
}

// Permuted tells whether both sides consist of the same bytes in another order, so that they may say the same: maps have none.
func (r *Reassignment) Permuted() bool {
	if len(r.Before) != len(r.After) || bytes.Equal(r.Before, r.After) {
		return false
	}
	var counts [256]int
	for i := range r.Before {
		counts[r.Before[i]]++
		counts[r.After[i]]--
	}
	return counts == [256]int{}
}

// Merge is the whole assignment, given what After was translated to; nil when that is not of its form.
func (r *Reassignment) Merge(after *model.LoadAssignment) *model.LoadAssignment {
	if len(after.Localities) != len(r.kept) {
		return nil
	}
	for i, l := range after.Localities {
		fresh, before := l.Endpoints, r.was.Localities[i].Endpoints
		if len(fresh) == 0 && same(r.kept[i], len(before)) {
			l.Endpoints = before
			continue
		}
		all := make([]*model.Endpoint, len(r.kept[i]))
		for j, at := range r.kept[i] {
			switch {
			case at >= 0:
				all[j] = before[at]
			case len(fresh) == 0:
				return nil
			default:
				all[j], fresh = fresh[0], fresh[1:]
			}
		}
		if len(fresh) > 0 {
			return nil
		}
		l.Endpoints = all
	}
	sum := sha256.Sum256(r.new)
	after.Hash = binary.BigEndian.Uint64(sum[:8])
	return after
}

// same tells whether all of so many endpoints are where they were.
func same(kept []int, before int) bool {
	if len(kept) != before {
		return false
	}
	for i, at := range kept {
		if at != i {
			return false
		}
	}
	return true
}

// splitMessage is a serialised assignment in parts.
type splitMessage struct {
	localities []splitLocality
	rest       []byte // the fields beside localities
}

type splitLocality struct {
	endpoints [][]byte
	rest      []byte // the fields beside endpoints
}

// split takes an assignment apart. It is false for what is no message, and for endpoints that are elsewhere.
func (m *splitMessage) split(b []byte) bool {
	m.clear()
	return eachField(b, func(number protowire.Number, field, value []byte) bool {
		if number != assignmentLocalities {
			m.rest = append(m.rest, field...)
			return true
		}
		return value != nil && m.locality().split(value)
	})
}

// clear makes it empty, and keeps its memory.
func (m *splitMessage) clear() {
	for i := range m.localities {
		l := &m.localities[i]
		clear(l.endpoints)
		l.endpoints, l.rest = l.endpoints[:0], l.rest[:0]
	}
	m.localities, m.rest = m.localities[:0], m.rest[:0]
}

// locality adds an empty one.
func (m *splitMessage) locality() *splitLocality {
	if n := len(m.localities); n < cap(m.localities) {
		m.localities = m.localities[:n+1] // with the memory of one before
	} else {
		m.localities = append(m.localities, splitLocality{})
	}
	return &m.localities[len(m.localities)-1]
}

func (l *splitLocality) split(b []byte) bool {
	return eachField(b, func(number protowire.Number, field, value []byte) bool {
		switch number {
		case localityEndpoints:
			l.endpoints = append(l.endpoints, value)
			return value != nil
		case localityList, localityLEDS:
			return false
		}
		l.rest = append(l.rest, field...)
		return true
	})
}

// eachField calls f for each field of a message, with all its bytes, and with its value when it has a length, until f returns
// false. It tells whether b was read to its end.
func eachField(b []byte, f func(number protowire.Number, field, value []byte) bool) bool {
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return false
		}
		n := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if n < 0 {
			return false
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b[tag : tag+n])
			if value == nil {
				value = []byte{}
			}
		}
		if !f(number, b[:tag+n], value) {
			return false
		}
		b = b[tag+n:]
	}
	return true
}

// compareEndpoints appends where each endpoint of b was in a, and adds those to the rest of each that are not in the other.
func compareEndpoints(to []int, a, b *splitLocality) []int {
	first, least := 0, min(len(a.endpoints), len(b.endpoints))
	for first < least && bytes.Equal(a.endpoints[first], b.endpoints[first]) {
		first++
	}
	last := 0 // as many at the end are the same
	for last < least-first && bytes.Equal(a.endpoints[len(a.endpoints)-1-last], b.endpoints[len(b.endpoints)-1-last]) {
		last++
	}
	to = slices.Grow(to, len(b.endpoints))
	kept := to[len(to) : len(to)+len(b.endpoints)]
	aligned := len(a.endpoints) == len(b.endpoints)
	for j, e := range b.endpoints {
		switch {
		case j < first || aligned && bytes.Equal(a.endpoints[j], e):
			kept[j] = j
		case j >= len(b.endpoints)-last:
			kept[j] = j + len(a.endpoints) - len(b.endpoints)
		default:
			kept[j] = -1
			b.rest = appendEndpoint(b.rest, e)
		}
	}
	for j := first; j < len(a.endpoints)-last; j++ {
		if !aligned || kept[j] < 0 {
			a.rest = appendEndpoint(a.rest, a.endpoints[j])
		}
	}
	return to[:len(to)+len(kept)]
}

func appendEndpoint(to, endpoint []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, localityEndpoints, protowire.BytesType), endpoint)
}

func appendLocality(to, locality []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, assignmentLocalities, protowire.BytesType), locality)
}
