package controlplane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ClientStatus is what is known of a client: the streams from one address with one node.
type ClientStatus struct {
	Node    string `json:"node"`
	Cluster string `json:"cluster"`
	// Group is the client's group by its node; "" is none.
	Group string `json:"group"`
	// Agent is the name and version that the client tells of itself.
	Agent string `json:"agent"`
	Peer  string `json:"peer"`
	// Identity is what its certificate says; "" without one.
	Identity string `json:"identity,omitempty"`
	// Since is when the first of its streams began, Gone when the last one ended; zero while one lasts.
	Since   time.Time      `json:"since"`
	Gone    time.Time      `json:"gone,omitzero"`
	Streams []StreamStatus `json:"streams"`
}

// StreamStatus is what is known of a stream.
type StreamStatus struct {
	// Service is ADS, REST, or the type of a service of its own.
	Service string        `json:"service"`
	Delta   bool          `json:"delta"`
	Since   time.Time     `json:"since"`
	Ended   time.Time     `json:"ended,omitzero"`
	Types   []TopicStatus `json:"types"`
}

// TopicStatus is what a client asked for and was told of one type.
type TopicStatus struct {
	Type string `json:"type"`
	// Wildcard tells that it asked for all; Names is how many it asked for by name, Resources how many it has.
	Wildcard  bool `json:"wildcard"`
	Names     int  `json:"names"`
	Resources int  `json:"resources"`
	// Sent is the version that it was sent last, and Acked the one that it took last. Pending tells that it has not answered.
	Sent    string    `json:"sent"`
	SentAt  time.Time `json:"sent_at,omitzero"`
	Acked   string    `json:"acked"`
	AckedAt time.Time `json:"acked_at,omitzero"`
	Pending bool      `json:"pending"`
	// Error is why it rejected ErrorVersion; empty after the next ACK.
	Error        string    `json:"error,omitempty"`
	ErrorVersion string    `json:"error_version,omitempty"`
	ErrorAt      time.Time `json:"error_at,omitzero"`
	Acks         int       `json:"acks"`
	Nacks        int       `json:"nacks"`
}

// Clients lists the clients, those that are connected first, by node and address. Clients that went are listed for a few
// minutes unless their node came back.
func (s *Server) Clients() []ClientStatus { return s.clients.status() }

func (c *clients) status() []ClientStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prune()
	byClient := map[string]*ClientStatus{}
	alive := map[string]bool{}
	for t := range c.talks {
		if t.node == nil {
			continue
		}
		key := t.node.GetId() + "\x00" + t.node.GetCluster() + "\x00" + t.peer
		one := byClient[key]
		if one == nil {
			one = &ClientStatus{
				Node: t.node.GetId(), Cluster: t.node.GetCluster(), Group: c.groupOf(t.node), Agent: agentOf(t.node), Peer: t.peer, Identity: t.identity, Since: t.since,
			}
			byClient[key] = one
		}
		if t.since.Before(one.Since) {
			one.Since = t.since
		}
		one.Streams = append(one.Streams, t.status())
		alive[t.node.GetId()] = alive[t.node.GetId()] || t.ended.IsZero()
	}
	out := make([]ClientStatus, 0, len(byClient))
	for _, one := range byClient {
		one.finish()
		if one.Gone.IsZero() || !alive[one.Node] {
			out = append(out, *one)
		}
	}
	slices.SortFunc(out, func(a, b ClientStatus) int {
		return cmp.Or(cmp.Compare(boolInt(!a.Gone.IsZero()), boolInt(!b.Gone.IsZero())), strings.Compare(a.Node, b.Node), strings.Compare(a.Peer, b.Peer))
	})
	return out
}

// finish completes the status of a client whose streams are all there.
func (s *ClientStatus) finish() {
	slices.SortFunc(s.Streams, func(a, b StreamStatus) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), a.Since.Compare(b.Since))
	})
	for _, x := range s.Streams {
		if x.Ended.IsZero() {
			s.Gone = time.Time{}
			return
		}
		if x.Ended.After(s.Gone) {
			s.Gone = x.Ended
		}
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// agentOf is what a client calls itself.
func agentOf(n *corev3.Node) string {
	version := n.GetUserAgentVersion()
	if b := n.GetUserAgentBuildVersion(); version == "" && b.GetVersion() != nil {
		v := b.GetVersion()
		version = fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	return strings.TrimSpace(n.GetUserAgentName() + " " + version)
}

func (t *talk) status() StreamStatus {
	s := StreamStatus{Service: shortType(t.service), Delta: t.delta, Since: t.since, Ended: t.ended}
	switch {
	case t.poll:
		s.Service = "REST"
	case t.service == "":
		s.Service = "ADS"
	}
	for _, k := range allKinds {
		if p := t.topics[k.url]; p != nil {
			s.Types = append(s.Types, p.status())
		}
	}
	for url, p := range t.topics {
		if kindOf(url) == nil {
			s.Types = append(s.Types, p.status())
		}
	}
	return s
}

func (p *topic) status() TopicStatus {
	return TopicStatus{
		Type: shortType(p.url), Wildcard: p.wildcard, Names: len(p.names), Resources: len(p.holds),
		Sent: p.sent, SentAt: p.sentAt, Acked: p.acked, AckedAt: p.ackedAt, Pending: len(p.pending) > 0,
		Error: p.err, ErrorVersion: p.errVersion, ErrorAt: p.errAt, Acks: p.acks, Nacks: p.nacks,
	}
}

// ResourceStatus is a resource that is served.
type ResourceStatus struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	// Origin is where it was defined, as FILE:LINE:COLUMN; "" when it was not read from a file.
	Origin  string   `json:"origin,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
}

// Resources lists what is served to a group, in the order of types and names; ok is false when there is no such group.
func (s *Server) Resources(group string) (out []ResourceStatus, ok bool) {
	s.mu.Lock()
	one := s.sets[group]
	s.mu.Unlock()
	if one == nil {
		return nil, false
	}
	for _, k := range allKinds {
		for _, i := range one.tables[k.url].sorted() {
			out = append(out, ResourceStatus{Type: k.short(), Name: i.name, Version: i.version, Origin: i.origin, Aliases: i.aliases})
		}
	}
	return out, true
}
