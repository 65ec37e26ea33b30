package stats

import "sync/atomic"

// maxHeld bounds how many stats an Heir keeps that this process itself has not.
const maxHeld = 4 * MaxNames

// Heir adds what another process counts to the stats of this one, as long as that one lives: its counters grow by what the other's
// have grown by, and its gauges show the sum of both. What the other one counts under names that there are none of here waits for
// them until Settle, and is shown under its own name afterwards. One goroutine at a time uses it.
type Heir struct {
	store *Store
	// gauges are the levels of the other one that are not 0, waiting what its counters have grown by without one to add it to.
	gauges  map[string]uint64
	waiting map[string]growth
	shared  map[*group]struct{} // those that show levels of the other one
	held    []*group            // those that are there for the other one's sake
	settled bool
	lost    int
	seen    uint64 // Store.changes when all gauges were last placed
}

// growth is what a counter is to be raised by.
type growth struct{ value, unshipped uint64 }

// Heir makes one.
func (s *Store) Heir() *Heir {
	return &Heir{store: s, gauges: make(map[string]uint64), waiting: make(map[string]growth), shared: make(map[*group]struct{})}
}

// Counter raises a counter by value. Of that and of what was told before, unshipped is for this process's flusher to ship.
func (h *Heir) Counter(name string, value, unshipped uint64) {
	if h.raise(name, growth{value, unshipped}) || h.settled {
		return
	}
	w := h.waiting[name]
	h.waiting[name] = growth{w.value + value, w.unshipped + unshipped}
}

// Gauge says at which level a gauge of the other process is.
func (h *Heir) Gauge(name string, level uint64) {
	if level == 0 {
		if _, ok := h.gauges[name]; !ok {
			return
		}
		delete(h.gauges, name)
	} else {
		h.gauges[name] = level
	}
	h.show(name, level)
}

// Settle says that this process has what its configuration asks for. It is to be called again after each round: what was made since
// the last time shows the share of the other one then. It gives how many names found no room so far.
func (h *Heir) Settle(now bool) (lost int) {
	changes := h.store.changes.Load()
	if now == h.settled && changes == h.seen {
		return h.lost
	}
	h.settled, h.seen = now, changes
	for name, w := range h.waiting {
		if h.raise(name, w) || h.settled {
			delete(h.waiting, name)
		}
	}
	for name, level := range h.gauges {
		h.show(name, level)
	}
	return h.lost
}

// Close is the end of the other process: its share of the gauges is gone, and so are the gauges that only it had. Its counters remain,
// also those that only it had: they may not have been shipped yet, and go on when this process counts under the same name.
func (h *Heir) Close() {
	for g := range h.shared {
		g.inherited.Store(nil)
	}
	h.store.mu.Lock()
	for _, g := range h.held {
		if g.kind() == GaugeKind {
			h.store.release(g)
		}
	}
	h.store.mu.Unlock()
	*h = *h.store.Heir()
}

// find gives the stat of a name, nil when there is none and none is to be made.
func (h *Heir) find(k Kind, name string) (*group, int) {
	s := h.store
	s.mu.Lock()
	g, i := s.find(k, name)
	s.mu.Unlock()
	if g != nil || !h.settled {
		return g, i
	}
	if len(h.held) == maxHeld {
		h.lost++
		return nil, 0
	}
	g, i = s.single(k, Sanitize(name), Unspecified)
	h.held = append(h.held, g)
	return g, i
}

func (h *Heir) raise(name string, by growth) bool {
	g, i := h.find(CounterKind, name)
	if g == nil {
		return false
	}
	h.store.flushMu.Lock()
	defer h.store.flushMu.Unlock()
	b := g.baseline()
	g.counters[i].total.Add(by.value)
	b.last[i] += by.value - by.unshipped
	return true
}

func (h *Heir) show(name string, level uint64) {
	g, i := h.find(GaugeKind, name)
	if g == nil {
		return
	}
	all := g.inherited.Load()
	if all == nil {
		if level == 0 {
			return
		}
		made := make([]atomic.Uint64, len(g.gauges))
		all = &made
		g.inherited.Store(all)
		h.shared[g] = struct{}{}
	}
	(*all)[i].Store(level)
}

// share is the level that an Heir has added to a gauge.
func (g *group) share(i int) uint64 {
	if all := g.inherited.Load(); all != nil {
		return (*all)[i].Load()
	}
	return 0
}
