package store

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/pkg/config/xds"
)

// A state-of-the-world response holds everything whenever one resource changes. What is the same as before, byte by byte, is
// told by its name alone, and neither decoded nor checked nor translated again.

// nameField is the number of the field that names a resource, in all types that have names of their own.
const nameField protowire.Number = 1

// peekName reads the name of a resource without decoding it; empty when it cannot be told.
func peekName(r xds.Resource) string {
	if r.Body == nil {
		return r.Name
	}
	name := ""
	for b := r.Body.GetValue(); len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ""
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return ""
		}
		if number == nameField && kind == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[:n])
			name = string(v) // the last one counts, as for any decoder
		}
		b = b[n:]
	}
	return nameOf(name, r.Name)
}

// keepNamed tells whether a resource that is subscribed by name is as before, and counts its arrival then.
// Secrets are read again, for their files may have changed, and so are filters, for the listeners that they have to fit may.
func keepNamed[M comparable](b *batch, t *table[M], r xds.Resource) bool {
	if b.update.Type != xds.EndpointType && b.update.Type != xds.RouteType {
		return false
	}
	name := peekName(r)
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
	if e == nil || e.Static || !sameBody(e.Raw, r.Body) {
		return false
	}
	s := t.slots[name]
	s.Failure = nil
	t.renew(s, r.Body, r.Version, b.now)
	return true
}

func sameBody(a, b *anypb.Any) bool {
	return a.GetTypeUrl() == b.GetTypeUrl() && bytes.Equal(a.GetValue(), b.GetValue())
}
