package store

import (
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/config/xdstp"
)

// other is a source that a resource is wanted from besides the one that it comes from.
type other struct {
	source *model.Source
	refs   int
}

// move has a resource come from another source, when what wants it now names another one than what did before: an update may
// take the routes of a listener, say, from files to a control plane. What came from the source before stays in force until the
// next one delivers, and what wants it now waits for that. Resources are known by their names: where two want one from
// different sources at the same time, both get that of the source that was named last, and there is a warning (contested).
// The new need is counted in w already.
func (d *dependencies) move(w *want, dep dependency) {
	to := dep.source
	if !d.moves(w) || sameSource(w.source, to) {
		return
	}
	before := w.refs - 1
	w.others = slices.DeleteFunc(w.others, func(o other) bool {
		before -= o.refs
		return sameSource(o.source, to)
	})
	if before > 0 {
		w.others = append(w.others, other{w.source, before})
		if w.routes == nil { // else these are two forms of one route configuration
			d.contested[w.key] = struct{}{}
		}
	}
	w.routes = dep.routes
	d.redirect(w, to)
}

// leave is told of a need that ended, and of the source that it named. A resource that nobody wants from its source any more
// comes from one of those that others named.
func (d *dependencies) leave(w *want, from *model.Source) {
	if len(w.others) == 0 {
		return
	}
	if !sameSource(w.source, from) {
		for i := range w.others {
			if o := &w.others[i]; sameSource(o.source, from) {
				o.refs--
			}
		}
		w.others = slices.DeleteFunc(w.others, func(o other) bool { return o.refs <= 0 })
		return
	}
	here := w.refs
	for _, o := range w.others {
		here -= o.refs
	}
	if here <= 0 {
		last := len(w.others) - 1
		to := w.others[last].source
		w.others = w.others[:last]
		d.redirect(w, to)
	}
}

// moves tells whether a resource can come from another source.
func (d *dependencies) moves(w *want) bool {
	return !w.idle && w.scopes == nil && d.store.opt.Sources != nil
}

// redirect asks another source for a resource.
func (d *dependencies) redirect(w *want, to *model.Source) {
	d.store.opt.Log.Info("a resource comes from another source from now on", "type", w.typeURL, "name", w.name, "from", w.source.ID(), "to", to.ID())
	hosts := w.typeURL == xds.VirtualHostType
	if hosts {
		d.store.quitHosts(w)
	} else {
		d.store.opt.Sources.Unsubscribe(w.source, w.typeURL, w.name)
	}
	w.source = to
	w.stats.follow(to)
	if w.timer != nil {
		w.timer.Stop()
	}
	w.settled = hosts && d.store.has(w)
	d.unhold(w)
	if !w.settled {
		d.hold(w)
	}
	if hosts {
		d.store.followHosts(w)
	} else {
		d.store.opt.Sources.Subscribe(to, w.typeURL, w.name)
	}
}

// contest warns about resources that are wanted from several sources. While anything warms, the forms that it replaces may be what
// wants them from another one.
func (s *Store) contest() {
	if len(s.deps.contested) == 0 || s.clusters.warming > 0 || s.listeners.warming > 0 {
		return
	}
	for k := range s.deps.contested {
		if w := s.deps.wants[k]; w != nil {
			for _, o := range w.others {
				s.opt.Log.Warn("a resource is wanted from two sources at once: all that want it get what the source that was named last delivers",
					"type", k.typeURL, "name", k.name, "source", text(w.source), "other_source", text(o.source))
			}
		}
	}
	clear(s.deps.contested)
}

// text names a source to people.
func text(s *model.Source) string {
	if id := s.ID(); id != "" {
		return id
	}
	return "ads"
}

// foreign tells of a resource that comes from elsewhere than from where it is wanted: a file delivers all that it holds to whoever
// wants something of it, and what was asked of a source may come after the resource was moved to another one. A name of xdstp
// decides itself where it comes from.
func (b *batch) foreign(w *want) bool {
	return b.update.Source != "" && w.source != nil && !xdstp.Is(w.name) && w.source.ID() != b.update.Source
}

// answers tells whether the response came from where something is wanted.
func (b *batch) answers(w *want) bool {
	return w.source == nil || xdstp.Is(w.name) || w.source.ID() == b.update.Source
}

// sameSource tells whether two sources of one resource are the same, or there is none to move from or to.
func sameSource(a, b *model.Source) bool {
	if a == nil || b == nil || a == b || a.Kind == model.SourceADS && b.Kind == model.SourceADS {
		return true
	}
	return a.ID() == b.ID()
}
