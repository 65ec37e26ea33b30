package store

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// move has a resource come from another source, when what wants it now names another one than what did before: an update may
// take the routes of a listener, say, from files to a control plane. What came from the source before stays in force until the
// next one delivers, and what wants it now waits for that. Resources are known by their names: where two want one from
// different sources at the same time, both get that of the source that was named last.
func (d *dependencies) move(w *want, to *model.Source) {
	if w.idle || w.scopes != nil || w.typeURL == xds.VirtualHostType || d.store.opt.Sources == nil || sameSource(w.source, to) {
		return
	}
	d.store.opt.Log.Info("a resource comes from another source from now on", "type", w.typeURL, "name", w.name, "from", w.source.ID(), "to", to.ID())
	d.store.opt.Sources.Unsubscribe(w.source, w.typeURL, w.name)
	w.source = to
	w.stats.follow(to)
	if w.timer != nil {
		w.timer.Stop()
	}
	w.settled = false
	d.hold(w)
	d.store.opt.Sources.Subscribe(to, w.typeURL, w.name)
}

// sameSource tells whether two sources of one resource are the same, or there is none to move from or to.
func sameSource(a, b *model.Source) bool {
	if a == nil || b == nil || a == b || a.Kind == model.SourceADS && b.Kind == model.SourceADS {
		return true
	}
	return a.ID() == b.ID()
}
