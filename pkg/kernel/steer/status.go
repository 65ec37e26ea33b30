package steer

import (
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// ListenerStatus says what becomes of the connections that are captured for a listener.
type ListenerStatus struct {
	Listener string
	// Offloaded are the services that its connections go to past weir, Passed tells that some are not captured at all since
	// they would only be passed on.
	Offloaded []string
	Passed    bool
	// Kept says why others go through user space, one entry for each reason; empty when none does.
	Kept []string
}

// Status tells of every listener, by name. Its cost is that of all rules.
func (c *Compiler) Status() []ListenerStatus {
	all := make(map[string]*ListenerStatus)
	for name, l := range c.snap.Listeners.All() {
		s := &ListenerStatus{Listener: name}
		switch {
		case l.UDP != nil:
			s.Kept = []string{"datagrams need user space"}
		case l.TrafficDirection == model.TrafficInbound:
			s.Kept = []string{"connections that come in need user space"}
		}
		all[name] = s
	}
	for _, r := range c.plan.Rules {
		s := all[r.Listener]
		if s == nil {
			continue
		}
		switch {
		case r.Action == Offload:
			s.Offloaded = insert(s.Offloaded, r.Service)
		case r.Action == Pass:
			s.Passed = true
		case r.Kept != "":
			s.Kept = insert(s.Kept, r.Kept)
		}
	}
	out := make([]ListenerStatus, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		if len(s.Offloaded)+len(s.Kept) == 0 && !s.Passed {
			s.Kept = []string{"no connection is captured for it"}
		}
		out = append(out, *s)
	}
	return out
}

// insert adds a text to sorted ones unless it is there.
func insert(list []string, text string) []string {
	at, found := slices.BinarySearch(list, text)
	if found {
		return list
	}
	return slices.Insert(list, at, text)
}
