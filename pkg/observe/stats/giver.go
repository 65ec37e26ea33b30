package stats

import "maps"

// Change is what became of a counter or a gauge since the last round of a Giver.
type Change struct {
	// Kind is CounterKind or GaugeKind.
	Kind Kind
	// Prefix and Name are the full dotted name together.
	Prefix, Name string
	// Value is by how much a counter has grown, or the level of a gauge.
	Value uint64
	// Unshipped is how much of a counter no flusher has shipped and none will, as the round takes that upon itself. It may be
	// more than Value.
	Unshipped uint64
}

// Giver tells another process's Heir of the counters and gauges of a store, in rounds, of which each tells what the rounds before
// have not: see Heir. One goroutine at a time uses it.
type Giver struct {
	store   *Store
	round   uint64
	given   map[*group]*givenGroup
	changes []Change
}

// givenGroup is what the rounds so far have told of a group.
type givenGroup struct {
	round            uint64 // the last that found the group
	counters, gauges []uint64
}

// Giver makes one that has told nothing.
func (s *Store) Giver() *Giver { return &Giver{store: s, given: make(map[*group]*givenGroup)} }

// Round gives what has changed, until give returns an error, which it returns. With take, what counters have counted since they were
// latched is given as Unshipped, and counts as shipped here from then on. It costs a look at each stat and little more than that where
// nothing has changed; no lock is held while give is called, and others get the core in between.
func (g *Giver) Round(take bool, give func(*Change) error) error {
	g.round++
	for i, n := range g.store.listing() {
		yieldAt(i, yieldSteps)
		for _, grp := range n.groups {
			if grp.asleep(g.store) {
				continue
			}
			g.look(grp, take)
			for at := range g.changes {
				g.changes[at].Prefix = n.node.prefix
				if err := give(&g.changes[at]); err != nil {
					return err
				}
			}
		}
	}
	maps.DeleteFunc(g.given, func(_ *group, told *givenGroup) bool { return told.round != g.round })
	return nil
}

// look finds what has changed in a group.
func (g *Giver) look(grp *group, take bool) {
	g.changes = g.changes[:0]
	told := g.given[grp]
	if told == nil {
		told = &givenGroup{counters: make([]uint64, len(grp.counters)), gauges: make([]uint64, len(grp.gauges))}
		g.given[grp] = told
	}
	told.round = g.round
	g.store.flushMu.Lock()
	defer g.store.flushMu.Unlock()
	for i := range grp.view.order {
		it := &grp.view.order[i]
		c := Change{Kind: it.kind, Name: it.name}
		switch it.kind {
		case CounterKind:
			now := grp.counters[it.index].total.Load()
			c.Value = later(told.counters[it.index], now)
			told.counters[it.index] = now
			if take && now != 0 {
				c.Unshipped = grp.take(it.index, now)
			}
		case GaugeKind:
			if c.Value = grp.number(GaugeKind, it.index); c.Value == told.gauges[it.index] {
				continue
			}
			told.gauges[it.index] = c.Value
		}
		if c.Value|c.Unshipped != 0 || it.kind == GaugeKind {
			g.changes = append(g.changes, c)
		}
	}
}

// later is by how much a counter has grown. One that is lower than before was reset.
func later(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// take makes what a counter has counted since it was latched another one's to ship. Called with the flush lock held.
func (g *group) take(i int, now uint64) uint64 {
	b := g.baseline()
	n := now - b.last[i]
	b.last[i] = now
	return n
}
