package hcm

import "sync"

// drains tells connections that their listener or filter chain drains: one goroutine for all connections that share a
// channel, which lives while there is any.
type drains struct {
	mu     sync.Mutex
	groups map[<-chan struct{}]*drainGroup
}

type drainGroup struct {
	members map[*connection]struct{}
	empty   chan struct{}
}

// join adds a connection; the returned function takes it out again. A nil channel never drains.
func (d *drains) join(ch <-chan struct{}, c *connection) (leave func()) {
	if ch == nil {
		return func() {}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[ch]
	if g == nil {
		if d.groups == nil {
			d.groups = make(map[<-chan struct{}]*drainGroup)
		}
		g = &drainGroup{members: make(map[*connection]struct{}), empty: make(chan struct{})}
		d.groups[ch] = g
		go d.watch(ch, g)
	}
	g.members[c] = struct{}{}
	return func() { d.leave(ch, g, c) }
}

// watch waits for the drain, or until nobody is left who would care.
func (d *drains) watch(ch <-chan struct{}, g *drainGroup) {
	select {
	case <-g.empty:
		return
	case <-ch:
	}
	d.mu.Lock()
	if d.groups[ch] == g {
		delete(d.groups, ch)
	}
	members := make([]*connection, 0, len(g.members))
	for c := range g.members {
		members = append(members, c)
	}
	d.mu.Unlock()
	for _, c := range members {
		c.drain()
	}
}

func (d *drains) leave(ch <-chan struct{}, g *drainGroup, c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(g.members, c)
	if len(g.members) == 0 && d.groups[ch] == g {
		delete(d.groups, ch)
		close(g.empty)
	}
}
