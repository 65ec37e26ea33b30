package steer

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// listener replaces what a listener contributes; either may be nil.
func (c *Compiler) listener(name string, old, now *model.Listener) {
	old, now = ofConnections(old), outgoing(ofConnections(now))
	own := owner{ownListener, name}
	if name == c.catchAll {
		for to := range c.targetsOf(name) {
			c.dirty[to] = struct{}{}
		}
	}
	c.drop(own)
	delete(c.catchers, name)
	delete(c.bound, name)
	for cluster := range clustersIn(old) {
		if delete(c.users[cluster], name); len(c.users[cluster]) == 0 {
			delete(c.users, cluster)
		}
	}
	c.resettle = c.resettle || old != nil && (old.UseOriginalDst || old.BindToPort)
	if now == nil {
		return
	}
	for cluster := range clustersIn(now) {
		if c.users[cluster] == nil {
			c.users[cluster] = make(map[string]struct{})
		}
		c.users[cluster][name] = struct{}{}
	}
	if now.UseOriginalDst {
		c.catchers[name] = struct{}{}
	}
	c.resettle = c.resettle || now.UseOriginalDst || now.BindToPort
	if now.BindToPort {
		if len(anyPorts(now)) > 0 {
			c.bound[name] = struct{}{}
		}
		return
	}
	contribution{c, own, 0}.listener(name, now)
}

// outgoing is a listener that has a part in what leaves applications, else nil; l may be nil. Inbound ones have none.
func outgoing(l *model.Listener) *model.Listener {
	if l != nil && l.TrafficDirection == model.TrafficInbound {
		return nil
	}
	return l
}

// clustersIn yields the clusters of the TCP proxies of a listener, which may be nil.
func clustersIn(l *model.Listener) iter.Seq[string] {
	return func(yield func(string) bool) {
		if l == nil {
			return
		}
		for _, fc := range slices.Concat(l.FilterChains, []*model.FilterChain{l.DefaultFilterChain}) {
			if fc == nil {
				continue
			}
			for _, f := range fc.Filters {
				p, ok := f.Config.(*model.TCPProxy)
				if !ok {
					continue
				}
				for _, w := range p.Clusters {
					if !yield(w.Name) {
						return
					}
				}
			}
		}
	}
}

// targetsOf yields the targets whose rule may be for the listener.
func (c *Compiler) targetsOf(listener string) iter.Seq[target] {
	return func(yield func(target) bool) {
		owners := []owner{{ownListener, listener}, {ownInclude, ""}}
		if _, bound := c.bound[listener]; bound || listener == c.catchAll {
			owners = append(owners, owner{ownCatchAll, ""})
		}
		for _, o := range owners {
			for _, to := range c.parts[o] {
				if !yield(to) {
					return
				}
			}
		}
	}
}

// clusterChanged looks again at the rules for listeners that use a cluster.
func (c *Compiler) clusterChanged(cluster string) {
	for listener := range c.users[cluster] {
		for to := range c.targetsOf(listener) {
			c.dirty[to] = struct{}{}
		}
		c.resettle = c.resettle || listener == c.catchAll
	}
}

// drop takes all candidates of an owner away.
func (c *Compiler) drop(o owner) {
	for _, to := range c.parts[o] {
		if p := c.places[to]; p != nil {
			p.candidates = slices.DeleteFunc(p.candidates, func(k candidate) bool { return k.owner == o })
		}
		c.dirty[to] = struct{}{}
	}
	delete(c.parts, o)
}

// settleCatchAll says which listener takes what no other one does, the first by name, and has it and the included ranges
// contribute.
func (c *Compiler) settleCatchAll() {
	if !c.resettle {
		return
	}
	c.resettle = false
	chosen := ""
	for _, name := range slices.Sorted(maps.Keys(c.catchers)) {
		if chosen == "" {
			chosen = name
			continue
		}
		c.notice(name, "use_original_dst", "listener %q already takes what no other listener does", chosen)
	}
	c.catchAll = chosen
	c.drop(owner{ownCatchAll, ""})
	c.drop(owner{ownInclude, ""})
	everything := &contribution{c, owner{ownCatchAll, ""}, 0}
	if chosen != "" {
		everything.catchAll(chosen)
		if c.outcomeOf(c.snap.Listeners.Get(chosen), target{prefix: every[0]}).action != Redirect ||
			c.outcomeOf(c.snap.Listeners.Get(chosen), target{prefix: every[1]}).action != Redirect {
			for _, name := range slices.Sorted(maps.Keys(c.bound)) {
				everything.hidden(name, c.snap.Listeners.Get(name))
			}
		}
	}
	contribution{c, owner{ownInclude, ""}, 0}.includes(chosen)
}

// finish settles the rules of all targets that were touched.
func (c *Compiler) finish(all bool) Update {
	c.settleCatchAll()
	var wide []target
	for to := range c.dirty {
		if to.port != 0 && to.prefix.Bits() == 0 {
			wide = append(wide, to)
		}
	}
	for _, to := range wide {
		for _, inside := range c.parts[owner{ownInclude, ""}] {
			if inside.port == to.port {
				c.dirty[inside] = struct{}{}
			}
		}
	}
	var u Update
	for to := range c.dirty {
		c.settle(to, &u.Change)
	}
	c.dirty = emptied(c.dirty)
	for _, rules := range [][]Rule{u.Added, u.Removed, u.Altered} {
		slices.SortFunc(rules, compareRules)
	}
	c.finishPlan(&u, all)
	c.finishServices(&u)
	slices.SortStableFunc(c.notices, func(a, b Notice) int {
		return cmp.Or(cmp.Compare(a.order(), b.order()), cmp.Compare(a.Resource, b.Resource))
	})
	u.Notices, c.notices = slices.Compact(c.notices), nil
	return u
}

// settle makes the best candidate of a target its rule.
func (c *Compiler) settle(to target, change *Change) {
	p := c.places[to]
	if p == nil {
		return
	}
	was, planned := p.rule, p.planned
	before := p.spec
	p.rule, p.spec, p.planned = Rule{}, Spec{}, len(p.candidates) > 0
	if p.planned {
		p.rule, p.spec = c.decide(p)
	} else {
		delete(c.places, to)
	}
	c.refer(before, -1)
	c.refer(p.spec, 1)
	switch {
	case !planned && p.planned:
		change.Added = append(change.Added, p.rule)
	case planned && !p.planned:
		change.Removed = append(change.Removed, was)
	case planned && was != p.rule:
		change.Altered = append(change.Altered, p.rule)
	}
	c.conflicts(p)
}

// decide makes a rule of the best candidate of a place.
func (c *Compiler) decide(p *place) (Rule, Spec) {
	best := p.candidates[0]
	rule := best.Rule
	if best.owner.kind == ownInclude && rule.Port != 0 && rule.Action == Redirect {
		if name := c.anyAddress(rule.target()); name != "" {
			rule.Listener = name
		}
	}
	l := c.snap.Listeners.Get(rule.Listener)
	if rule.Action != Redirect || l == nil {
		return rule, Spec{}
	}
	o := c.outcomeOf(l, rule.target())
	rule.Action, rule.Kept = o.action, o.kept
	if o.action == Offload {
		rule.Service = o.spec.Name
	}
	return rule, o.spec
}

// anyAddress is the listener at any address of the family of a target, on its port; "" when there is none.
func (c *Compiler) anyAddress(to target) string {
	whole := every[1]
	if to.prefix.Addr().Is4() {
		whole = every[0]
	}
	p := c.places[target{whole, to.port, to.protocol}]
	if p == nil {
		return ""
	}
	for _, k := range p.candidates {
		switch k.rank {
		case rankWildcard, rankCompat, rankBound, rankBoundCompat:
			return k.Listener
		}
	}
	return ""
}

// conflicts notes listeners whose own address another one has.
func (c *Compiler) conflicts(p *place) {
	for i, k := range p.candidates {
		if i > 0 && k.rank == rankListener && k.owner != p.candidates[0].owner {
			c.notice(k.Listener, "address", "%s port %d is already captured for listener %q", k.Prefix, k.Port, p.candidates[0].Listener)
		}
	}
}

// refer counts a rule that refers to a service, or does no more.
func (c *Compiler) refer(s Spec, by int) {
	if s.Name == "" {
		return
	}
	n := c.specs[s.Name]
	if n == nil {
		n = &counted{}
		c.specs[s.Name] = n
	}
	if _, known := c.from[s.Name]; !known {
		c.from[s.Name] = n.Spec
	}
	if n.rules += by; by > 0 {
		n.Spec = s
	}
}

func (c *Compiler) finishServices(u *Update) {
	for _, name := range slices.Sorted(maps.Keys(c.from)) {
		now := c.specs[name]
		switch {
		case now.rules == 0:
			delete(c.specs, name)
			delete(c.unfit, name)
			if c.from[name].Name != "" {
				u.GoneServices = append(u.GoneServices, name)
			}
		case now.Spec != c.from[name]:
			u.Services = append(u.Services, now.Spec)
		}
	}
	c.from = emptied(c.from)
}

// emptied is an empty map: m, unless that has become so large that to empty it would cost every later step.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > 64 {
		return make(map[K]V)
	}
	clear(m)
	return m
}

// finishPlan makes the next plan of the one before and what changed.
func (c *Compiler) finishPlan(u *Update, all bool) {
	was := c.plan
	if len(u.Added)+len(u.Removed)+len(u.Altered) == 0 && !all {
		u.Plan = was
		return
	}
	next := &Plan{
		Rules: merge(was.Rules, &u.Change), Excludes: was.Excludes, Cgroups: slices.Clone(c.config.Cgroups),
		FailClosed: c.config.FailClosed, Disabled: c.config.Disabled,
	}
	if all {
		next.Excludes = c.excludes()
		u.AddedExcludes, u.RemovedExcludes, _ = diffRules(was.Excludes, next.Excludes)
		u.Policy = was.FailClosed != next.FailClosed || was.Disabled != next.Disabled
	}
	if len(next.Cgroups) == 0 && len(next.Rules) > 0 {
		next.Cgroups = []string{DefaultCgroup}
	}
	u.Change.Cgroups = !slices.Equal(was.Cgroups, next.Cgroups)
	u.Plan, c.plan = next, next
}

// merge applies a change to sorted rules. Beside copying them it costs what changes.
func merge(rules []Rule, change *Change) []Rule {
	steps := slices.Concat(change.Added, change.Altered, change.Removed)
	gone := len(steps) - len(change.Removed) // where those begin
	order := make([]int, len(steps))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compareRules(steps[a], steps[b]) })
	out := make([]Rule, 0, len(rules)+len(change.Added)-len(change.Removed))
	for _, i := range order {
		at, found := slices.BinarySearchFunc(rules, steps[i], compareRules)
		out = append(out, rules[:at]...)
		if rules = rules[at:]; found {
			rules = rules[1:]
		}
		if i < gone {
			out = append(out, steps[i])
		}
	}
	return append(out, rules...)
}
