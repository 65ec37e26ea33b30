package store

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// Subscriptions to VHDS of one source share a stream, on which the control plane tells all virtual hosts that it has, each when
// it changes. So one may come before the route configuration that it is for, and does not come again after it: it is kept.

// group is that of a route configuration, made if need be.
func (x *hosting) group(name, source string) *hostGroup {
	id := hostsOf{source, name}
	g := x.groups[id]
	if g == nil {
		g = &hostGroup{
			name: name, source: source, hosts: map[string]*hostEntry{}, owners: map[string]string{}, asks: asks{}, early: map[string]xds.Resource{},
		}
		x.groups[id] = g
	}
	return g
}

// keepEarly keeps a virtual host for its route configuration.
func (b *batch) keepEarly(r xds.Resource) {
	i := strings.LastIndexByte(r.Name, '/')
	if _, followed := b.store.hosting.follows[b.update.Source]; i < 0 || r.Body == nil || !followed {
		b.store.opt.Log.Debug("ignored a virtual host of no route configuration", "name", r.Name)
		return
	}
	b.store.hosting.group(r.Name[:i], b.update.Source).early[r.Name] = r
}

// takeEarly takes what came before the route configuration of a group. It was accepted when it came, so that what is bad is
// left out.
func (s *Store) takeEarly(g *hostGroup) {
	if len(g.early) == 0 {
		return
	}
	b := &batch{store: s, update: xds.Update{Type: xds.VirtualHostType, Source: g.source}, now: time.Now(), seen: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(g.early)) {
		b.update.Version = g.early[name].Version
		b.host(g, g.early[name])
	}
	g.early = map[string]xds.Resource{}
	b.tell(g.want)
}

// tidy forgets a group that holds nothing, for which nobody asks.
func (x *hosting) tidy(g *hostGroup) {
	if g.want == nil && len(g.hosts) == 0 && len(g.early) == 0 {
		delete(x.groups, hostsOf{g.source, g.name})
	}
}

// leave ends the following of a source for a group. The stream of a source of its own ends with the last group that follows it,
// and what the control plane told on it is of no use any more; the aggregated stream goes on.
func (x *hosting) leave(g *hostGroup, kind model.SourceKind) {
	x.follows[g.source]--
	if x.follows[g.source] > 0 || kind != model.SourceAPI {
		return
	}
	delete(x.follows, g.source)
	delete(x.heard, g.source)
	maps.DeleteFunc(x.groups, func(_ hostsOf, other *hostGroup) bool { return other.source == g.source })
}

// hostsPatience is how long what waits for virtual hosts of a source that has answered waits for more, unless
// initial_fetch_timeout is shorter. Subscribing to all of them once more says nothing to the control plane: what is new is on its
// way, or there is none.
const hostsPatience = time.Second

// heardOf tells whether the source of a want has said already which virtual hosts there are.
func (s *Store) heardOf(w *want) bool {
	return w.typeURL == xds.VirtualHostType && s.hosting.heard[w.source.ID()]
}

// noHosts ends the wait for virtual hosts of a source that has answered, and has none.
func (s *Store) noHosts(w *want) {
	g := s.hostsOf(w)
	g.empty.Inc()
	s.deps.settle(w.key)
	s.publishHosts(g)
	s.publish()
}
