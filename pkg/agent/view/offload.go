package view

import "github.com/weir-proxy/weir/pkg/kernel/steer"

// listenerInfo says whether the connections of a listener reach user space, and why.
type listenerInfo struct {
	Listener string `json:"listener"`
	// Outcome is "offloaded", "passed", "user_space", or "mixed".
	Outcome  string   `json:"outcome"`
	Services []string `json:"services,omitempty"`
	// Reasons are what keeps connections in user space.
	Reasons []string `json:"reasons,omitempty"`
}

func listeners(list []steer.ListenerStatus) []listenerInfo {
	out := make([]listenerInfo, 0, len(list))
	for _, s := range list {
		info := listenerInfo{Listener: s.Listener, Outcome: "mixed", Services: s.Offloaded, Reasons: s.Kept}
		switch offloaded, kept := len(s.Offloaded) > 0, len(s.Kept) > 0; {
		case kept && !offloaded && !s.Passed:
			info.Outcome = "user_space"
		case offloaded && !kept && !s.Passed:
			info.Outcome = "offloaded"
		case s.Passed && !kept && !offloaded:
			info.Outcome = "passed"
		}
		out = append(out, info)
	}
	return out
}
