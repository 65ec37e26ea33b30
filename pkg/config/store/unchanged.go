package store

import (
	"bytes"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// A state-of-the-world response holds everything whenever one resource changes. What is the same as before, byte by byte, is
// told by its name alone, and neither decoded nor checked nor translated again.

// keepNamed tells whether a resource that is subscribed by name is as before, and counts its arrival then.
// Secrets are read again, for their files may have changed, and so are filters, for the listeners that they have to fit may.
func keepNamed[M comparable](b *batch, t *table[M], r xds.Resource) bool {
	if b.update.Type != xds.EndpointType && b.update.Type != xds.RouteType {
		return false
	}
	name := r.PeekName()
	w := b.store.deps.wanted(b.update.Type, name)
	if w == nil || !t.unchanged(b, name, r) {
		return false
	}
	b.store.deps.settle(w.key)
	b.store.arrived(w)
	(&batch{store: b.store, update: b.update, now: b.now}).tell(w)
	return true
}

// unchanged tells whether a resource is the one that the newest form of its name was made of. Then that form gets the new
// version, and nothing else needs to be done. Static resources are never the same as dynamic ones.
func (t *table[M]) unchanged(b *batch, name string, r xds.Resource) bool {
	e := t.latest(name)
	if e == nil || e.Static || e.unknown != len(r.Unknown) || !sameBody(e.Raw, r.Body) {
		return false
	}
	s := t.slots[name]
	s.Failure = nil
	t.renew(s, newEntry(e.Value, e.hash, r, b.now).warned(e.Warnings))
	return true
}

func sameBody(a, b *anypb.Any) bool {
	return a.GetTypeUrl() == b.GetTypeUrl() && bytes.Equal(a.GetValue(), b.GetValue())
}
