package steer

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Compiler keeps the plan of a configuration that changes, at the cost of what changes. It is not safe for concurrent use.
type Compiler struct {
	// snap is the last snapshot, never nil, and config what its interception says.
	snap   *model.Snapshot
	config model.Interception
	// held keeps everything in user space; unfit keeps the connections of services there.
	held  string
	unfit map[string]string

	places map[target]*place
	// parts are the targets that each owner has candidates for.
	parts map[owner][]target
	// catchers are the listeners that could take what no other one does, catchAll the one that does.
	catchers map[string]struct{}
	catchAll string
	// bound are the listeners that are bound to a port at any address. resettle has catchAll chosen anew.
	bound    map[string]struct{}
	resettle bool
	// users are the listeners that send connections to a cluster.
	users map[string]map[string]struct{}
	// specs are the services that there are to be, with the number of the rules that would refer to them.
	specs map[string]*counted

	plan *Plan
	// What the present step touches: targets, services as they were before, and what is to be said.
	dirty   map[target]struct{}
	from    map[string]Spec
	notices []Notice
}

type counted struct {
	Spec
	rules int
}

// owner is whoever has candidates: a listener by its own addresses, or, without a name, one of two parts of the whole.
type owner struct {
	kind ownerKind
	name string
}

type ownerKind uint8

const (
	ownListener ownerKind = iota
	ownCatchAll
	ownInclude
)

// place is what is said about a target: candidates, the best first, and the rule that the plan has.
type place struct {
	candidates []candidate
	rule       Rule
	planned    bool
	spec       Spec
}

// candidate is a rule that somebody wants.
type candidate struct {
	Rule
	rank  int
	owner owner
	seq   int
}

func compareCandidates(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(a.rank, b.rank), cmp.Compare(a.owner.kind, b.owner.kind), cmp.Compare(a.owner.name, b.owner.name), cmp.Compare(a.seq, b.seq),
	)
}

// Update is what a step of the compiler changes.
type Update struct {
	// Plan as it is now.
	Plan *Plan
	// Change from the plan before.
	Change
	// Services that there are to be: those that came and those whose listener or proxy changed, also when they are unfit and no
	// rule refers to them. GoneServices are the names of those that nobody has use for any more.
	Services     []Spec
	GoneServices []string
	// Notices about what changed.
	Notices []Notice
}

// NewCompiler makes one of the empty configuration.
func NewCompiler() *Compiler {
	return &Compiler{
		snap: &model.Snapshot{}, unfit: make(map[string]string), places: make(map[target]*place), parts: make(map[owner][]target),
		catchers: make(map[string]struct{}), users: make(map[string]map[string]struct{}), specs: make(map[string]*counted), plan: &Plan{},
		dirty: make(map[target]struct{}), from: make(map[string]Spec), bound: make(map[string]struct{}),
	}
}

// Compile derives the plan from a snapshot. The notices name what could not be captured and why; they are not errors. The
// result depends on the snapshot's content alone, never on map order. A nil snapshot captures nothing. Nothing is offloaded: for
// that, somebody has to say what the services are.
func Compile(snap *model.Snapshot) (*Plan, []Notice) {
	c := NewCompiler()
	c.held = "nobody provides services"
	u := c.Snapshot(snap)
	for i := range u.Plan.Rules {
		u.Plan.Rules[i].Kept = ""
	}
	return u.Plan, u.Notices
}

// Snapshot makes snap what is compiled, at the cost of how it differs from the one before. A nil one captures nothing.
func (c *Compiler) Snapshot(snap *model.Snapshot) Update {
	if snap == nil {
		snap = &model.Snapshot{}
	}
	was := c.snap
	c.snap = snap
	all := snap.Interception != was.Interception
	if all {
		c.resettle = true
		c.config = model.Interception{}
		if snap.Interception != nil {
			c.config = *snap.Interception
		}
		for name := range was.Listeners.All() {
			c.listener(name, nil, snap.Listeners.Get(name))
		}
	}
	for name, l := range snap.Listeners.Changes(was.Listeners) {
		c.listener(name, l.Old, l.New)
	}
	for name := range snap.Clusters.Changes(was.Clusters) {
		c.clusterChanged(name)
	}
	return c.finish(all)
}

// Unfit says why a service cannot do what the proxy would, as its hosts are at present; "" when it can. Flush heeds it.
func (c *Compiler) Unfit(service, why string) {
	s := c.specs[service]
	if s == nil || c.unfit[service] == why {
		return
	}
	c.unfit[service] = why
	if why == "" {
		delete(c.unfit, service)
	}
	for to := range c.targetsOf(s.Listener.Name) {
		c.dirty[to] = struct{}{}
	}
	c.resettle = c.resettle || s.Listener.Name == c.catchAll
}

// Hold keeps all connections in user space for the reason; "" lets go. Flush heeds it.
func (c *Compiler) Hold(why string) {
	if c.held == why {
		return
	}
	c.held, c.resettle = why, true
	for to := range c.places {
		c.dirty[to] = struct{}{}
	}
}

// Flush is the step of what Unfit and Hold have said.
func (c *Compiler) Flush() Update { return c.finish(false) }

// Plan is the present one.
func (c *Compiler) Plan() *Plan { return c.plan }

// UsersOf are the services whose connections may go to a cluster.
func (c *Compiler) UsersOf(cluster string) []Spec {
	var out []Spec
	for listener := range c.users[cluster] {
		for _, s := range c.servicesOf(listener) {
			if slices.Contains(s.Clusters(), cluster) {
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b Spec) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// servicesOf are the distinct services of a listener.
func (c *Compiler) servicesOf(listener string) []Spec {
	seen := make(map[string]Spec)
	for to := range c.targetsOf(listener) {
		if p := c.places[to]; p != nil && p.spec.Name != "" && p.rule.Listener == listener {
			seen[p.spec.Name] = p.spec
		}
	}
	return slices.Collect(maps.Values(seen))
}
