package view

import (
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/datagram"
)

// Datagrams is the kernel half for datagrams, a *datagram.Interceptor.
type Datagrams interface {
	Status() (datagram.Status, error)
	Counters() (map[string]uint64, error)
}

// datagramStatus is what /weir/interception tells of UDP.
type datagramStatus struct {
	Active     bool   `json:"active"`
	Error      string `json:"error,omitempty"`
	Generation uint32 `json:"generation"`
	FailClosed bool   `json:"fail_closed"`
	// CaptureSockets are those of each network namespace, weir's own first.
	CaptureSockets []datagramSockets `json:"capture_sockets"`
	Cgroups        []cgroupInfo      `json:"cgroups"`
	Rules          []ruleInfo        `json:"rules"`
	Excludes       []ruleInfo        `json:"excludes"`
	Reasons        []reasonCounts    `json:"reasons"`
}

// datagramSockets are the ports of the sockets that captured datagrams come to: one for IPv4, at any address of 127.0.0.0/8, and several for
// IPv6, at ::1.
type datagramSockets struct {
	Netns uint64   `json:"netns_cookie"`
	IPv4  uint16   `json:"ipv4_port"`
	IPv6  []uint16 `json:"ipv6_ports"`
}

// datagrams tells what happens to datagrams; nil when nothing does.
func (v Interception) datagrams() *datagramStatus {
	if v.Datagrams == nil {
		return nil
	}
	k, problem := v.Datagrams()
	if k == nil && problem == nil {
		return nil
	}
	out := &datagramStatus{CaptureSockets: []datagramSockets{}, Cgroups: []cgroupInfo{}, Rules: []ruleInfo{}, Excludes: []ruleInfo{}, Reasons: []reasonCounts{}}
	if problem != nil {
		out.Error = problem.Error()
	}
	if k == nil {
		return out
	}
	status, err := k.Status()
	if err == nil {
		out.fill(&status)
		out.Reasons, err = reasonsOf(k, datagram.ReasonDisabled)
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

func (out *datagramStatus) fill(s *datagram.Status) {
	out.Active, out.Generation = s.Loaded, s.Generation
	for _, netns := range slices.SortedFunc(maps.Keys(s.Capture), func(a, b uint64) int {
		switch {
		case a == b:
			return 0
		case a == s.Netns || b != s.Netns && a < b:
			return -1
		}
		return 1
	}) {
		ports := s.Capture[netns]
		out.CaptureSockets = append(out.CaptureSockets, datagramSockets{Netns: netns, IPv4: ports.IPv4, IPv6: append([]uint16{}, ports.IPv6...)})
	}
	out.Cgroups = cgroupsOf(s.Cgroups)
	if s.Plan != nil {
		out.FailClosed, out.Rules, out.Excludes = s.Plan.FailClosed, rules(s.Plan.Rules), rules(s.Plan.Excludes)
	}
}
