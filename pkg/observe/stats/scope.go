package stats

import (
	"strings"
	"sync"
)

// Scope is a name prefix and the owner of the stats looked up through it. Two scopes with the same
// prefix share their stats, and a stat is shown until the last scope that looked it up is closed.
// It is safe for concurrent use.
type Scope struct {
	store  *Store
	parent *Scope
	prefix string // "" or ends in "."

	mu         sync.RWMutex
	closed     bool
	children   map[*Scope]struct{}
	counters   map[string]*Counter // by the name that the caller gave
	gauges     map[string]*Gauge
	histograms map[string]*Histogram
	texts      map[string]*TextReadout
}

// Scope makes a scope below this one. The prefix may end in a dot or not, and is sanitised as Envoy
// does (see Sanitize). The new scope is closed with this one if not before. Scopes are made when
// something is configured, not per connection or request: an open scope is held by its parent.
func (sc *Scope) Scope(prefix string) *Scope {
	child := &Scope{store: sc.store, parent: sc, prefix: sc.prefix}
	if p := Sanitize(prefix); p != "" {
		child.prefix += p + "."
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.closed {
		child.closed = true
		return child
	}
	if sc.children == nil {
		sc.children = make(map[*Scope]struct{})
	}
	sc.children[child] = struct{}{}
	return child
}

// Prefix is the scope's full prefix, "" for the root, else ending in a dot.
func (sc *Scope) Prefix() string { return sc.prefix }

// Counter gives the named counter, made at the first use. In a closed scope it gives a counter that
// works and is not shown; so do Gauge, Histogram and TextReadout.
func (sc *Scope) Counter(name string) *Counter {
	sc.mu.RLock()
	c := sc.counters[name]
	sc.mu.RUnlock()
	if c != nil {
		return c
	}
	return lookUp(sc, &sc.counters, &sc.store.counters, name, func(full string) *Counter {
		return &Counter{named: named{name: full}}
	})
}

// Gauge gives the named gauge, made at the first use.
func (sc *Scope) Gauge(name string) *Gauge {
	sc.mu.RLock()
	g := sc.gauges[name]
	sc.mu.RUnlock()
	if g != nil {
		return g
	}
	return lookUp(sc, &sc.gauges, &sc.store.gauges, name, func(full string) *Gauge {
		return &Gauge{named: named{name: full}}
	})
}

// Histogram gives the named histogram, made at the first use, when its unit is fixed.
func (sc *Scope) Histogram(name string, unit Unit) *Histogram {
	sc.mu.RLock()
	h := sc.histograms[name]
	sc.mu.RUnlock()
	if h != nil {
		return h
	}
	return lookUp(sc, &sc.histograms, &sc.store.histograms, name, func(full string) *Histogram {
		h := &Histogram{named: named{name: full}, unit: unit, off: !sc.store.accepts(full)}
		if sc.store.buckets != nil {
			h.bounds = sc.store.buckets(full)
		}
		return h
	})
}

// TextReadout gives the named text readout, made at the first use.
func (sc *Scope) TextReadout(name string) *TextReadout {
	sc.mu.RLock()
	t := sc.texts[name]
	sc.mu.RUnlock()
	if t != nil {
		return t
	}
	return lookUp(sc, &sc.texts, &sc.store.texts, name, func(full string) *TextReadout {
		return &TextReadout{named: named{name: full}}
	})
}

// Close releases the scope's stats and closes the scopes made from it. Stats that no other scope
// holds are no longer shown; pointers to them stay valid. Closing again does nothing.
func (sc *Scope) Close() {
	sc.mu.Lock()
	children, counters, gauges, histograms, texts := sc.children, sc.counters, sc.gauges, sc.histograms, sc.texts
	sc.children, sc.counters, sc.gauges, sc.histograms, sc.texts = nil, nil, nil, nil, nil
	sc.closed = true
	sc.mu.Unlock()

	for child := range children {
		child.Close()
	}
	release(sc, &sc.store.counters, counters)
	release(sc, &sc.store.gauges, gauges)
	release(sc, &sc.store.histograms, histograms)
	release(sc, &sc.store.texts, texts)
	if sc.parent != nil {
		sc.parent.forget(sc)
	}
}

func (sc *Scope) forget(child *Scope) {
	sc.mu.Lock()
	delete(sc.children, child)
	sc.mu.Unlock()
}

// lookUp is the slow path of the getters: it takes the stat from the store, so that scopes share it,
// and notes it in the scope's own map. A stat that the matcher rejects stays out of the store.
func lookUp[S any](sc *Scope, own *map[string]*S, fam *family[S], name string, create func(full string) *S) *S {
	full := sc.prefix + Sanitize(name)
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if sc.closed {
		return create(full)
	}
	if stat := (*own)[name]; stat != nil {
		return stat
	}
	var stat *S
	if sc.store.accepts(full) {
		stat = acquire(sc.store, fam, full, create)
	} else {
		stat = create(full)
	}
	if *own == nil {
		*own = make(map[string]*S)
	}
	(*own)[strings.Clone(name)] = stat
	return stat
}

// Sanitize makes s fit for a stat name as Envoy does: ':' (with a following "//" or "/") and NUL
// become '_', and one leading and one trailing dot go.
func Sanitize(s string) string {
	s = strings.TrimPrefix(strings.TrimSuffix(s, "."), ".")
	if !strings.ContainsAny(s, ":\x00") {
		return s
	}
	return strings.NewReplacer("://", "_", ":/", "_", ":", "_", "\x00", "_").Replace(s)
}
