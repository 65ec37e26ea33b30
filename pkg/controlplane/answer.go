package controlplane

import (
	"maps"
	"slices"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// What a client knows is kept by the library as a map from names to versions, which only this file reads and writes:
// a version of "" is a name that the client was told does not exist, and the entry completeKey holds the version of the
// table that the client knows in full.
const completeKey = "\x00complete"

// comparison is what a client has to be told.
type comparison struct {
	kind *kind
	send map[*item][]string // with the names by which it was asked for
	// removed are gone, absent never were there.
	removed, absent []string
	known           map[string]string
}

// answer tells the client of w what it does not know yet of t, and reports whether there was anything to tell. changed
// names what differs from the table that the client was last compared with; nil is everything. first says that the
// client waits for an answer, whatever it is.
func (w *watch) answer(t *table, changed []string, first bool) bool {
	if w.request != nil {
		return w.answerState(t, changed, first)
	}
	r := w.deltaRequest
	known := w.knows()
	if changed == nil && !first && len(r.GetResourceNamesSubscribe()) == 0 && len(r.GetResourceNamesUnsubscribe()) == 0 && known[completeKey] == t.version {
		return false // only an ACK
	}
	c := compare(t, kindOf(w.url), w, changed)
	if len(c.send)+len(c.removed)+len(c.absent) == 0 && !(first && w.sub.IsWildcard()) {
		return false
	}
	c.known[completeKey] = t.version
	select {
	case w.deltaAnswers <- &deltaAnswer{request: r, response: c.delta(t.version), known: c.known}:
		return true
	default:
		return false // the library has room for an answer of each type, so the client asked for too many
	}
}

// answerState is answer for the state of the world.
func (w *watch) answerState(t *table, changed []string, first bool) bool {
	k := kindOf(w.url)
	full := k.full || w.sub.IsWildcard()
	if first && w.sub.IsWildcard() && w.request.GetVersionInfo() == t.version {
		w.brought = t.versions() // it has come back, and nothing changed
		return false
	}
	c := compare(t, k, w, changed)
	if len(c.send) == 0 && !first && !(full && len(c.removed)+len(c.absent) > 0) {
		return false
	}
	a := &sotwAnswer{request: w.request, version: t.version, full: full, known: c.known}
	if full {
		wanted, _ := t.wanted(w.sub)
		for _, i := range wanted {
			c.send[i] = nil
			c.known[i.name] = i.version
		}
	}
	a.items = c.items()
	select {
	case w.answers <- a:
		return true
	default:
		return false
	}
}

// items lists what is to be sent by name.
func (c *comparison) items() []*item {
	return slices.SortedFunc(maps.Keys(c.send), func(a, b *item) int { return strings.Compare(a.name, b.name) })
}

// delta is the answer of the incremental protocol.
func (c *comparison) delta(version string) *discoveryv3.DeltaDiscoveryResponse {
	r := &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: version, TypeUrl: c.kind.url, RemovedResources: c.removed}
	for _, i := range c.items() {
		r.Resources = append(r.Resources, i.delta(c.send[i]))
	}
	for _, name := range c.absent {
		if c.kind.url != resource.VirtualHostType {
			r.RemovedResources = append(r.RemovedResources, name)
			continue
		}
		// A request that waits for a virtual host goes on when a resource of that alias comes; without content there is no such
		// host.
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: name, Aliases: []string{name}})
	}
	slices.Sort(r.RemovedResources)
	return r
}

// knows is what the client of w has, by name.
func (w *watch) knows() map[string]string {
	if w.brought != nil {
		return w.brought
	}
	return w.sub.ReturnedResources()
}

// compare finds what the client of w has to be told of t, among the names changed unless that is nil.
func compare(t *table, k *kind, w *watch, changed []string) *comparison {
	sub := w.sub
	c := &comparison{kind: k, send: map[*item][]string{}, known: maps.Clone(w.knows())}
	if c.known == nil {
		c.known = map[string]string{}
	}
	if changed != nil && k.url != resource.VirtualHostType && len(t.aliases()) == 0 {
		c.some(t, sub, changed)
	} else {
		c.all(t, sub)
	}
	return c
}

// some compares the names in changed only; no item of t has aliases.
func (c *comparison) some(t *table, sub cache.Subscription, changed []string) {
	subscribed, wildcard := sub.SubscribedResources(), sub.IsWildcard()
	for _, name := range changed {
		_, named := subscribed[name]
		_, member := subscribed[collectionOf(name)]
		if !wildcard && !named && !member {
			continue
		}
		i := t.items[name]
		version, told := c.known[name]
		switch {
		case i != nil && version != i.version:
			c.send[i] = nil
			c.known[name] = i.version
		case i == nil && version != "":
			c.removed = append(c.removed, name)
			c.forget(name, named)
		case i == nil && named && !told:
			c.absent = append(c.absent, name)
			c.known[name] = ""
		}
	}
}

// all compares everything.
func (c *comparison) all(t *table, sub cache.Subscription) {
	wanted, absent := t.wanted(sub)
	for name, i := range wanted {
		if c.known[name] == i.version {
			continue
		}
		c.send[i] = append(c.send[i], name)
	}
	delete(c.known, completeKey)
	for name, version := range c.known {
		if _, missing := absent[name]; missing || wanted[name] != nil {
			continue
		}
		// The library marks with "" what a client no longer asks for by name and may still have from a wildcard.
		if exists := t.find(name) != nil; !exists && (version != "" || sub.IsWildcard()) {
			c.removed = append(c.removed, name)
		}
		delete(c.known, name)
	}
	for name := range absent {
		switch version, told := c.known[name]; {
		case !told:
			c.absent = append(c.absent, name)
		case version != "":
			c.removed = append(c.removed, name)
		}
		c.known[name] = ""
	}
	for name, i := range wanted {
		c.known[name] = i.version
	}
	slices.Sort(c.removed)
	slices.Sort(c.absent)
}

// forget notes that the client knows the name no longer, or that it is absent when it asked for it by name.
func (c *comparison) forget(name string, named bool) {
	if named {
		c.known[name] = ""
		return
	}
	delete(c.known, name)
}

// wanted are the items that a client asks for, by the name that it used and by their own, and the names for which there
// is none.
func (t *table) wanted(sub cache.Subscription) (wanted map[string]*item, absent map[string]struct{}) {
	wanted, absent = make(map[string]*item, len(sub.SubscribedResources())), map[string]struct{}{}
	if sub.IsWildcard() {
		maps.Copy(wanted, t.items)
	}
	for name := range sub.SubscribedResources() {
		if isCollection(name) {
			members := t.collections()[name]
			for _, i := range members {
				wanted[i.name] = i
			}
			if len(members) == 0 {
				absent[name] = struct{}{}
			}
			continue
		}
		i := t.find(name)
		if i == nil {
			absent[name] = struct{}{}
			continue
		}
		wanted[name], wanted[i.name] = i, i
	}
	return wanted, absent
}

// find returns the item that a name stands for: its own, an alias, or a host that a domain with a wildcard covers. It is
// nil when there is none.
func (t *table) find(name string) *item {
	if i := t.items[name]; i != nil {
		return i
	}
	aliases := t.aliases()
	if len(aliases) == 0 {
		return nil
	}
	if i := aliases[name]; i != nil {
		return i
	}
	return t.findHost(name)
}

// findHost finds the virtual host for ROUTES/HOST as Envoy chooses among domains: the longest suffix wildcard, then the
// longest prefix wildcard, then *.
func (t *table) findHost(name string) *item {
	slash := strings.LastIndex(name, "/")
	if slash < 0 {
		return nil
	}
	routes, host := name[:slash+1], strings.ToLower(name[slash+1:])
	aliases := t.aliases()
	for cut := range len(host) {
		if i := aliases[routes+"*"+host[cut:]]; cut > 0 && i != nil {
			return i
		}
	}
	for cut := len(host) - 1; cut > 0; cut-- {
		if i := aliases[routes+host[:cut]+"*"]; i != nil {
			return i
		}
	}
	return aliases[routes+"*"]
}

// collectionOf is the name of the collection that a resource belongs to: xdstp://authority/type/path/* for
// xdstp://authority/type/path/name, with the same context parameters.
func collectionOf(name string) string {
	path, parameters, found := strings.Cut(name, "?")
	slash := strings.LastIndex(path, "/")
	if slash < 0 {
		return "*"
	}
	path = path[:slash+1] + "*"
	if found {
		return path + "?" + parameters
	}
	return path
}

// isCollection tells a name that stands for all resources of a path.
func isCollection(name string) bool {
	path, _, _ := strings.Cut(name, "?")
	return strings.HasPrefix(name, "xdstp:") && strings.HasSuffix(path, "/*")
}

// membersOf indexes items by the collections that they belong to.
func membersOf(items map[string]*item) map[string][]*item {
	out := map[string][]*item{}
	for name, i := range items {
		if c := collectionOf(name); c != name {
			out[c] = append(out[c], i)
		}
	}
	return out
}
