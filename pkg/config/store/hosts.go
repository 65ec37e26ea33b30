package store

import (
	"context"
	"errors"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// hosting is what VHDS delivered. Guarded by Store.mu.
type hosting struct {
	groups map[hostsOf]*hostGroup
	// follows counts the groups that follow each source.
	follows map[string]int
	// heard are the sources that have answered, on the stream that there is.
	heard map[string]bool
	// published are the virtual hosts by the name of their route configuration.
	published model.Set[*model.HostSet]
}

// hostsOf tells groups apart: by the model.Source.ID of where virtual hosts come from, and the name of the route configuration
// that they are for.
type hostsOf struct{ source, routes string }

// hostGroup is the virtual hosts of one route configuration that come from one source.
type hostGroup struct {
	name string
	// source is where its virtual hosts come from (model.Source.ID), and routes what they are for; nil as long as it never was there.
	source string
	routes *model.RouteConfig
	// early are the resources that came before routes, by name: a stream that others follow, too, delivers each but once.
	early map[string]xds.Resource
	// want is the subscription; nil while the route configuration is not there. Then the group is kept as far as the stream
	// goes on that delivers it.
	want  *want
	empty *stats.Counter
	// own names the virtual hosts of the route configuration itself by domain; made when it is needed.
	own map[string]string
	// hosts are by resource, and owners are the resources that domains belong to.
	hosts  map[string]*hostEntry
	owners map[string]string
	set    *model.HostSet
	asks   asks
}

// hostEntry is a virtual host that was delivered.
type hostEntry struct {
	*Entry[*model.VirtualHost]
	// asked are the names by which requests asked for it: subscriptions that end with it.
	asked []string
}

// routeNeeds is the subscription to the virtual hosts of a route configuration.
func (s *Store) routeNeeds(v *model.RouteConfig) []dependency {
	if v.VHDS == nil {
		return nil
	}
	prefix := "vhds." + v.Name + "."
	if w := s.deps.wanted(xds.RouteType, v.Name); w != nil {
		prefix = strings.TrimSuffix(w.prefix, "rds."+v.Name+".") + prefix
	}
	return []dependency{{key: key{xds.VirtualHostType, v.Name}, source: v.VHDS, prefix: prefix, routes: v}}
}

// hostsOf is the group that a want is for; nil when there is none.
func (s *Store) hostsOf(w *want) *hostGroup {
	if w == nil || w.source == nil {
		return nil
	}
	return s.hosting.groups[hostsOf{w.source.ID(), w.name}]
}

// followHosts subscribes to the virtual hosts of a route configuration: those that the control plane sends by itself. Those of
// another source, that came before, stay published until this one answers.
func (s *Store) followHosts(w *want) {
	g := s.hosting.group(w.name, w.source.ID())
	g.want, g.empty = w, w.stats.scope.Counter("update_empty")
	g.routes, g.own = w.routes, nil
	s.hosting.follows[g.source]++
	s.takeEarly(g)
	if w.settled || s.hosting.published.Get(w.name) == nil {
		s.publishHosts(g)
	}
	s.opt.Sources.SubscribeAll(w.source, w.typeURL)
}

// leaveHosts ends that, and takes away what was published.
func (s *Store) leaveHosts(w *want) {
	s.quitHosts(w)
	s.hosting.published = s.hosting.published.Without(w.name)
}

// quitHosts ends the subscription alone.
func (s *Store) quitHosts(w *want) {
	g := s.hostsOf(w)
	g.want = nil
	for alias := range g.asks {
		s.opt.Sources.Unsubscribe(w.source, w.typeURL, alias)
		s.answered(g.asks, alias)
	}
	for _, h := range g.hosts {
		s.unask(w, h)
	}
	s.hosting.leave(g, w.source.Kind)
	s.opt.Sources.UnsubscribeAll(w.source, w.typeURL)
}

func (s *Store) publishHosts(g *hostGroup) {
	if g.want != nil {
		s.hosting.published = s.hosting.published.With(g.name, g.set)
	}
}

// moveRoutes follows the route configuration that is active: what waits for it goes on, and its domains are its own.
func (s *Store) moveRoutes(_, now *model.RouteConfig) {
	if now == nil {
		return
	}
	s.deps.settle(key{xds.RouteType, now.Name})
	if g := s.hostsOf(s.deps.wanted(xds.VirtualHostType, now.Name)); g != nil && now.VHDS != nil {
		g.routes, g.own = now, nil
	}
}

// groupOf finds the group that a virtual host's resource belongs to by its name: "<route configuration>/<anything>".
func (b *batch) groupOf(resource string) *hostGroup {
	i := strings.LastIndexByte(resource, '/')
	if i < 0 {
		return nil
	}
	return b.store.hosting.groups[hostsOf{b.update.Source, resource[:i]}]
}

// hosts applies a response of VHDS.
func (b *batch) hosts() {
	s := b.store
	s.hosting.heard[b.update.Source] = true
	touched := map[*hostGroup]*batch{}
	one := func(g *hostGroup) *batch {
		if touched[g] == nil {
			touched[g] = b.share()
		}
		return touched[g]
	}
	for _, name := range b.update.Removed {
		if g := b.groupOf(name); g != nil {
			one(g)
			s.dropHost(g, name)
			s.absent(g, name)
			s.hosting.tidy(g)
		}
	}
	for _, r := range b.update.Resources {
		if g := b.groupOf(r.Name); g != nil && g.routes != nil {
			one(g).host(g, r)
		} else {
			b.keepEarly(r)
		}
	}
	for g, part := range touched {
		b.errs = append(b.errs, part.errs...)
		s.publishHosts(g)
	}
	b.tellHosts(touched)
}

// tellHosts counts the response. Groups that wait for their first one have had it: a response names only what there is.
func (b *batch) tellHosts(touched map[*hostGroup]*batch) {
	s := b.store
	for g, part := range touched {
		if g.want != nil {
			part.tell(g.want)
		}
	}
	for name, w := range s.deps.pending[xds.VirtualHostType] {
		if !b.answers(w) {
			continue
		}
		g := s.hostsOf(w)
		if touched[g] == nil {
			g.empty.Inc()
			b.share().tell(g.want)
			s.publishHosts(g)
		}
		s.deps.settle(key{xds.VirtualHostType, name})
	}
}

// host takes one resource: a virtual host, or the answer that there is none of its names.
func (b *batch) host(g *hostGroup, r xds.Resource) {
	s := b.store
	if r.Body == nil {
		for _, alias := range append([]string{r.Name}, r.Aliases...) {
			s.absent(g, alias)
		}
		return
	}
	old := g.hosts[r.Name]
	if old == nil || string(old.Raw.GetValue()) != string(r.Body.GetValue()) {
		v, err := b.readHost(g, r)
		if err != nil {
			b.fail(r.Name, err)
			return
		}
		next := &hostEntry{Entry: newEntry(v, 0, r, b.now)}
		if old != nil {
			next.asked = old.asked
			g.forget(old.Value)
		}
		for _, d := range v.Domains {
			g.owners[d] = r.Name
		}
		g.hosts[r.Name], g.set = next, g.set.With(v)
		if g.want != nil {
			g.want.stats.configReload.Inc()
		}
	}
	for _, alias := range append([]string{r.Name}, r.Aliases...) {
		if s.answered(g.asks, alias) {
			g.hosts[r.Name].asked = append(g.hosts[r.Name].asked, alias)
		}
	}
	for _, d := range g.hosts[r.Name].Value.Domains { // for control planes that tell no aliases
		if alias := g.name + "/" + d; s.answered(g.asks, alias) {
			g.hosts[r.Name].asked = append(g.hosts[r.Name].asked, alias)
		}
	}
}

// readHost translates a virtual host and checks that its domains are free.
func (b *batch) readHost(g *hostGroup, r xds.Resource) (*model.VirtualHost, error) {
	m := &routev3.VirtualHost{}
	if err := b.decode(r, m); err != nil {
		return nil, err
	}
	routes := g.routes
	v, warnings, err := b.store.opt.Translate.VirtualHost(m, routes, b.meta(r))
	if err != nil {
		return nil, err
	}
	if g.own == nil {
		g.own = map[string]string{}
		for _, h := range routes.VirtualHosts {
			for _, d := range h.Domains {
				g.own[d] = h.Name
			}
		}
	}
	for _, d := range v.Domains {
		other := g.own[d]
		if owner := g.owners[d]; owner != "" && owner != r.Name {
			other = owner
		}
		if other != "" {
			return nil, errors.New(translate.HostConflict(d, v.Name, other, g.name))
		}
	}
	b.warn(warnings)
	return v, nil
}

// forget takes the domains of a virtual host away.
func (g *hostGroup) forget(v *model.VirtualHost) {
	g.set = g.set.Without(v)
	for _, d := range v.Domains {
		delete(g.owners, d)
	}
}

// dropHost removes a virtual host, if there is one of that resource.
func (s *Store) dropHost(g *hostGroup, name string) {
	delete(g.early, name)
	h := g.hosts[name]
	if h == nil {
		return
	}
	g.forget(h.Value)
	delete(g.hosts, name)
	if g.want != nil {
		g.want.stats.configReload.Inc()
		s.unask(g.want, h)
	}
}

// unask ends the subscriptions by which requests asked for a virtual host.
func (s *Store) unask(w *want, h *hostEntry) {
	for _, alias := range h.asked {
		s.opt.Sources.Unsubscribe(w.source, w.typeURL, alias)
	}
	h.asked = nil
}

// absent tells those who wait for a name that there is nothing. Who asks again asks the control plane again.
func (s *Store) absent(g *hostGroup, alias string) {
	if s.answered(g.asks, alias) && g.want != nil {
		s.opt.Sources.Unsubscribe(g.want.source, g.want.typeURL, alias)
	}
}

// FetchVirtualHost asks for the virtual host of a host, in lower case, that a route configuration does not have, and waits
// until it is in force or known not to come. The error is that of ctx.
func (s *Store) FetchVirtualHost(ctx context.Context, routes, host string) error {
	s.mu.Lock()
	g := s.hostsOf(s.deps.wanted(xds.VirtualHostType, routes))
	if g == nil || g.want == nil || g.owners[host] != "" {
		s.mu.Unlock()
		return nil
	}
	w, alias := g.want, routes+"/"+host
	return s.join(ctx, g.asks, alias,
		func() { s.opt.Sources.Subscribe(w.source, w.typeURL, alias) },
		func() { s.opt.Sources.Unsubscribe(w.source, w.typeURL, alias) })
}
