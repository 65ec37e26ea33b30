package store

import (
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// reassign applies an assignment that differs from the one before in some endpoints, at the price of these. It tells whether it
// did: what is new, bad or warned of is looked at as a whole.
func (b *batch) reassign(r xds.Resource) bool {
	s, name := b.store, r.PeekName()
	w, e := s.deps.wanted(b.update.Type, name), s.endpoints.latest(name)
	if w == nil || e == nil || e.Static || len(e.Warnings) > 0 || r.Body.GetTypeUrl() != b.update.Type {
		return false
	}
	change := s.reassigner.Compare(e.Value, e.Raw.GetValue(), r.Body.GetValue())
	if change == nil {
		return false
	}
	after := b.fragment(name, change.After)
	if after == nil {
		return false
	}
	if change.Permuted() {
		before := b.fragment(name, change.Before)
		if before != nil && s.opt.Translate.Hash(before) == s.opt.Translate.Hash(after) {
			return false // the same in another order of its maps: nothing changes
		}
	}
	part, warnings, err := s.opt.Translate.LoadAssignment(after, b.meta(r))
	if err != nil || len(warnings) > 0 {
		return false
	}
	v := change.Merge(part)
	if v == nil {
		return false
	}
	takeNamed(b, s.endpoints, w, name, newEntry(v, v.Hash, r, b.now))
	return true
}

// fragment decodes what differs of an assignment; nil when it is bad.
func (b *batch) fragment(name string, value []byte) *endpointv3.ClusterLoadAssignment {
	m := &endpointv3.ClusterLoadAssignment{}
	r := xds.Resource{Name: name, Body: &anypb.Any{TypeUrl: b.update.Type, Value: value}}
	if (&batch{store: b.store, update: b.update, now: b.now, seen: map[string]bool{}}).decode(r, m) != nil {
		return nil
	}
	return m
}
