package view

import (
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/inbound"
)

// Inbound is the kernel half of what comes in, an *inbound.Inbound.
type Inbound interface {
	Status() (inbound.Status, error)
	Counters() (map[string]uint64, error)
}

// inboundStatus is the part of /weir/interception about connections that come to applications.
type inboundStatus struct {
	Active     bool               `json:"active"`
	Error      string             `json:"error,omitempty"`
	Generation uint32             `json:"generation"`
	FailClosed bool               `json:"fail_closed"`
	Loopback   bool               `json:"include_loopback"`
	Cgroups    []string           `json:"cgroups"`
	Namespaces []inboundNamespace `json:"namespaces"`
	Rules      []inboundRule      `json:"rules"`
	Excludes   []inboundRule      `json:"excludes"`
	Reasons    []reasonCounts     `json:"reasons"`
}

type inboundNamespace struct {
	Cookie         uint64   `json:"netns_cookie"`
	CaptureSockets []string `json:"capture_sockets"`
	// Programs at the sk_lookup hook, in the order in which they run.
	Programs []programInfo `json:"programs"`
	// Places are where captured processes listen.
	Places []inboundPlace `json:"places"`
}

type inboundPlace struct {
	Address string `json:"address"`
	// Sockets of captured processes, and Foreign ones of others: with those nothing is captured there.
	Sockets int `json:"sockets"`
	Foreign int `json:"foreign_sockets"`
}

type inboundRule struct {
	Prefix string `json:"prefix"`
	// Port 0 is any.
	Port     uint16 `json:"port"`
	Listener string `json:"listener,omitempty"`
	// Policy tells that the kernel refuses by rbac filters, Kept why it leaves some to user space.
	Policy bool   `json:"policy,omitempty"`
	Kept   string `json:"policy_kept,omitempty"`
	Origin string `json:"origin"`
}

// inboundOf shows what is captured on its way in; i is nil when nothing is, for the reason err if it was asked for.
func inboundOf(i Inbound, err error) *inboundStatus {
	out := &inboundStatus{Cgroups: []string{}, Namespaces: []inboundNamespace{}, Rules: []inboundRule{}, Excludes: []inboundRule{}, Reasons: []reasonCounts{}}
	var s inbound.Status
	var counters map[string]uint64
	if i != nil && err == nil {
		if s, err = i.Status(); err == nil {
			counters, err = i.Counters()
		}
	}
	switch {
	case err != nil:
		out.Error = err.Error()
		return out
	case i == nil:
		return out
	}
	out.Active, out.Generation = !s.Plan.Empty(), s.Generation
	out.Cgroups = append(out.Cgroups, s.Cgroups...)
	if s.Plan != nil {
		out.FailClosed, out.Loopback = s.Plan.FailClosed, s.Plan.Loopback
		out.Rules, out.Excludes = inboundRules(s.Plan.Rules), inboundRules(s.Plan.Excludes)
	}
	for n := range s.Namespaces {
		out.Namespaces = append(out.Namespaces, inboundNamespaceOf(&s.Namespaces[n]))
	}
	texts := inbound.ReasonTexts()
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		out.Reasons = append(out.Reasons, reasonCounts{name, counters[name], texts[name]})
	}
	return out
}

func inboundNamespaceOf(n *inbound.NamespaceStatus) inboundNamespace {
	out := inboundNamespace{Cookie: n.Cookie, CaptureSockets: []string{}, Programs: []programInfo{}, Places: []inboundPlace{}}
	for _, a := range n.Sinks {
		out.CaptureSockets = append(out.CaptureSockets, a.String())
	}
	for _, p := range n.Programs {
		out.Programs = append(out.Programs, programInfo{p.Name, p.ID, p.Weir})
	}
	for _, p := range n.Places {
		out.Places = append(out.Places, inboundPlace{p.Addr.String(), p.Captured, p.Foreign})
	}
	return out
}

func inboundRules(list []inbound.Rule) []inboundRule {
	out := make([]inboundRule, 0, len(list))
	for _, r := range list {
		out = append(out, inboundRule{r.Prefix.String(), r.Port, r.Listener, r.Policy != nil, r.Kept, r.Origin})
	}
	return out
}
