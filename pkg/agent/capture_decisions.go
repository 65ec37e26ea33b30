package agent

import (
	"context"
	"errors"
	"net/url"

	"github.com/weir-proxy/weir/pkg/agent/decisions"
	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// newDecisions makes what tells of decisions. i is the configuration, nil when there is none.
func (c *capture) newDecisions(root *stats.Scope, i *model.Interception) {
	h, err := cgroup.Find()
	if err != nil {
		h = nil // nothing is captured either
	}
	c.late = root.Counter("weir.interception.namespaces_noticed_late")
	servers := &serverFinder{list: c.servers, own: c.inbound.cookie.Load}
	if h != nil {
		servers.owners = owners.New(h)
	}
	c.decisions = decisions.New(decisions.NewDescriber(h, c.namespaces.nameOf, servers.find), root.Scope("weir.interception.events"))
	if i != nil {
		c.record = i.Events
	}
}

// load opens the capture sockets and loads the programs, for the connections of cgroups, with a ring that the decisions of all objects are
// told through.
func (c *capture) load(cgroups []string) (*intercept.Interceptor, error) {
	ring, err := events.New()
	if err != nil {
		return nil, probe.Unavailable("interception", err)
	}
	k, err := c.loadWith(ring, cgroups)
	if err != nil {
		return nil, errors.Join(err, ring.Close())
	}
	c.ring, c.inbound.ring, c.datagrams.ring = ring, ring, ring
	return k, nil
}

// noticed looks for the namespace of a process whose connection was left to the fail policy, since nobody had noticed the namespace
// before, or it cannot be served.
func (c *capture) noticed(s intercept.Stranger) {
	if !c.namespaces.knows(s.Netns) {
		c.late.Inc()
	}
	c.namespaces.census.Look(s.Task)
}

// knows tells whether a namespace has been noticed, by its cookie.
func (s *namespaces) knows(cookie uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.known {
		if known.in != nil && known.in.Cookie == cookie {
			return true
		}
	}
	return false
}

// nameOf is the name of a network namespace by its cookie, "" for weir's own and those that are not served.
func (s *namespaces) nameOf(cookie uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.known {
		if known.in != nil && known.in.Cookie == cookie {
			return known.in.Name
		}
	}
	return ""
}

// countReasons brings weir.interception.* up to date.
func (c *capture) countReasons(root *stats.Scope) {
	k := c.kernel.Load()
	if k == nil {
		return
	}
	c.decisions.Collect()
	_ = c.reasons.count(root.Scope("weir.interception"), k.Counters) // an error says that it was closed
}

// eventStream answers /weir/events.
type eventStream struct{ hub *decisions.Hub }

var _ admin.Events = eventStream{}

// StreamEvents implements admin.Events.
func (e eventStream) StreamEvents(ctx context.Context, params url.Values, begin func(text bool), emit func([]byte) error) error {
	err := e.hub.Stream(ctx, params, begin, emit)
	var wrong decisions.Parameters
	if errors.As(err, &wrong) {
		return admin.BadParameters{Err: wrong.Unwrap()}
	}
	return err
}
