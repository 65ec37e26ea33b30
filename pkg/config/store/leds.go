package store

import (
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// collection is the endpoints of one collection of LEDS. Guarded by Store.mu.
type collection struct {
	want *want
	// members are in order of their names. The list is not written once it is in an assignment.
	members []member
	// users are the assignments in force that hold the collection.
	users map[string]bool
}

// member is an endpoint with the name of its resource.
type member struct {
	name     string
	body     string
	endpoint *model.Endpoint
}

// endpointNeeds are the collections of an assignment, each once.
func (s *Store) endpointNeeds(a *model.LoadAssignment) []dependency {
	var deps []dependency
	for _, l := range a.Localities {
		if l.LEDS == nil || slices.ContainsFunc(deps, func(d dependency) bool { return d.name == l.LEDS.Collection }) {
			continue
		}
		prefix := "cluster." + a.Name + "."
		if w := s.deps.wanted(xds.EndpointType, a.Name); w != nil {
			prefix = w.prefix
		}
		deps = append(deps, dependency{key: key{xds.LbEndpointType, l.LEDS.Collection}, source: l.LEDS.Source, prefix: prefix + "leds."})
	}
	return deps
}

// collectionOf is the collection that an endpoint belongs to by its name; nil when nothing asked for it.
func (s *Store) collectionOf(resource string) *collection {
	i := strings.LastIndexByte(resource, '/')
	if i < 0 {
		return nil
	}
	w := s.deps.wanted(xds.LbEndpointType, resource[:i]+"/*")
	if w == nil {
		return nil
	}
	c := s.collections[w.name]
	if c == nil {
		c = &collection{users: map[string]bool{}}
		s.collections[w.name] = c
	}
	c.want = w
	return c
}

// endpoints applies a response of LEDS: one resource is one endpoint.
func (b *batch) endpoints() {
	s := b.store
	touched := map[*collection]*batch{}
	for _, name := range b.update.Removed {
		if c := s.collectionOf(name); c != nil {
			b.part(touched, c)
			c.remove(name)
		}
	}
	for _, r := range b.update.Resources {
		if c := s.collectionOf(r.Name); c != nil && r.Body != nil {
			b.part(touched, c).endpoint(c, r)
		}
	}
	for c, part := range touched {
		b.errs = append(b.errs, part.errs...)
		part.tell(c.want)
		s.deps.settle(c.want.key)
		for name := range c.users {
			s.endpoints.present(name, s.assemble)
		}
	}
	if len(touched) == 0 { // the collections are empty
		for name, w := range s.deps.pending[xds.LbEndpointType] {
			if !b.answers(w) {
				continue
			}
			b.tell(w)
			s.deps.settle(key{xds.LbEndpointType, name})
		}
	}
}

// part is the share of the response that concerns one collection.
func (b *batch) part(parts map[*collection]*batch, c *collection) *batch {
	if parts[c] == nil {
		parts[c] = b.share()
	}
	return parts[c]
}

// share is a batch for some of the resources of the response.
func (b *batch) share() *batch {
	return &batch{store: b.store, update: b.update, now: b.now, seen: map[string]bool{}}
}

// endpoint takes one endpoint into its collection.
func (b *batch) endpoint(c *collection, r xds.Resource) {
	i, found := c.find(r.Name)
	if found && c.members[i].body == string(r.Body.GetValue()) {
		return
	}
	m := &endpointv3.LbEndpoint{}
	if err := b.decode(r, m); err != nil {
		b.fail(r.Name, err)
		return
	}
	v, warnings, err := b.store.opt.Translate.Endpoint(r.Name, m, b.meta(r))
	if err != nil {
		b.fail(r.Name, err)
		return
	}
	b.warn(warnings)
	next := member{r.Name, string(r.Body.GetValue()), v}
	if found {
		c.members[i] = next
		return
	}
	c.members = slices.Insert(c.members, i, next)
}

func (c *collection) find(name string) (int, bool) {
	return slices.BinarySearchFunc(c.members, name, func(m member, name string) int { return strings.Compare(m.name, name) })
}

func (c *collection) remove(name string) {
	if i, found := c.find(name); found {
		c.members = slices.Delete(c.members, i, i+1)
	}
}

// moveEndpoints follows the assignments in force: what waits for one goes on, and its collections know it.
func (s *Store) moveEndpoints(old, now *model.LoadAssignment) {
	each := func(a *model.LoadAssignment, uses bool) {
		if a == nil {
			return
		}
		for _, l := range a.Localities {
			if l.LEDS == nil {
				continue
			}
			c := s.collections[l.LEDS.Collection]
			switch {
			case uses && c == nil:
				s.collections[l.LEDS.Collection] = &collection{users: map[string]bool{a.Name: true}}
			case uses:
				c.users[a.Name] = true
			case c != nil:
				delete(c.users, a.Name)
			}
		}
	}
	each(old, false)
	each(now, true)
	if now != nil {
		s.deps.settle(key{xds.EndpointType, now.Name})
	}
}

// assemble is an assignment with the endpoints of its collections. One without any is returned as it is.
func (s *Store) assemble(a *model.LoadAssignment) *model.LoadAssignment {
	if !slices.ContainsFunc(a.Localities, func(l *model.Locality) bool { return l.LEDS != nil }) {
		return a
	}
	out := *a
	out.Localities = slices.Clone(a.Localities)
	for i, l := range out.Localities {
		if l.LEDS == nil {
			continue
		}
		full := *l
		if c := s.collections[l.LEDS.Collection]; c != nil {
			full.Endpoints = make([]*model.Endpoint, len(c.members))
			for j := range c.members {
				full.Endpoints[j] = c.members[j].endpoint
			}
		}
		out.Localities[i] = &full
	}
	return &out
}
