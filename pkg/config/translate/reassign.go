package translate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

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
// translated: what is the same as before, byte by byte, means the same.
type Reassignment struct {
	was *model.LoadAssignment
	new []byte
	// Before and After are serialised assignments with those endpoints only that are not in the other one.
	Before, After []byte
	// kept has, for each locality, where each endpoint was before; -1 for those in After.
	kept [][]int
}

// Reassign compares two serialised assignments, the first of which was translated to was. It returns nil when the second has to
// be looked at as a whole.
func Reassign(was *model.LoadAssignment, before, after []byte) *Reassignment {
	old, ok := splitAssignment(before)
	next, fine := splitAssignment(after)
	if !ok || !fine || len(old.localities) != len(was.Localities) || len(next.localities) != len(old.localities) {
		return nil
	}
	r := &Reassignment{was: was, new: after, Before: old.rest, After: next.rest, kept: make([][]int, len(next.localities))}
	for i := range next.localities {
		a, b := &old.localities[i], &next.localities[i]
		if len(a.endpoints) != len(was.Localities[i].Endpoints) {
			return nil
		}
		r.kept[i] = compareEndpoints(a, b)
		r.Before = appendLocality(r.Before, a.rest)
		r.After = appendLocality(r.After, b.rest)
	}
	return r
}

// Merge is the whole assignment, given what After was translated to; nil when that is not of its form.
func (r *Reassignment) Merge(after *model.LoadAssignment) *model.LoadAssignment {
	if len(after.Localities) != len(r.kept) {
		return nil
	}
	for i, l := range after.Localities {
		fresh := l.Endpoints
		all := make([]*model.Endpoint, len(r.kept[i]))
		for j, at := range r.kept[i] {
			switch {
			case at >= 0:
				all[j] = r.was.Localities[i].Endpoints[at]
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

// splitMessage is a serialised assignment in parts.
type splitMessage struct {
	localities []splitLocality
	rest       []byte // the fields beside localities
}

type splitLocality struct {
	endpoints [][]byte
	rest      []byte // the fields beside endpoints
}

// splitAssignment takes an assignment apart. ok is false for what is no message, and for endpoints that are elsewhere.
func splitAssignment(b []byte) (m splitMessage, ok bool) {
	ok = eachField(b, func(number protowire.Number, field, value []byte) bool {
		if number != assignmentLocalities {
			m.rest = append(m.rest, field...)
			return true
		}
		l := splitLocality{endpoints: make([][]byte, 0, countEndpoints(value))}
		fine := value != nil && eachField(value, func(number protowire.Number, field, value []byte) bool {
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
		m.localities = append(m.localities, l)
		return fine
	})
	return m, ok
}

// countEndpoints is how many endpoints a serialised locality has, as far as it can be read.
func countEndpoints(locality []byte) (n int) {
	eachField(locality, func(number protowire.Number, _, _ []byte) bool {
		if number == localityEndpoints {
			n++
		}
		return true
	})
	return n
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

// compareEndpoints tells where each endpoint of b was in a, and adds those to the rest of each that are not in the other.
func compareEndpoints(a, b *splitLocality) []int {
	first, least := 0, min(len(a.endpoints), len(b.endpoints))
	for first < least && bytes.Equal(a.endpoints[first], b.endpoints[first]) {
		first++
	}
	last := 0 // as many at the end are the same
	for last < least-first && bytes.Equal(a.endpoints[len(a.endpoints)-1-last], b.endpoints[len(b.endpoints)-1-last]) {
		last++
	}
	kept := make([]int, len(b.endpoints))
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
	return kept
}

func appendEndpoint(to, endpoint []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, localityEndpoints, protowire.BytesType), endpoint)
}

func appendLocality(to, locality []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, assignmentLocalities, protowire.BytesType), locality)
}
