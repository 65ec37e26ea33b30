package intercept

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Reason says why the kernel decided as it did; enum weir_reason in bpf/types.h explains each.
type Reason uint32

// Reasons, in the numbers of bpf/types.h.
const (
	ReasonNone Reason = iota
	ReasonNotTCP
	ReasonDisabled
	ReasonProxyMark
	ReasonProxyCgroup
	ReasonCaptureSocket
	ReasonExcluded
	ReasonNoRule
	ReasonPassRule
	ReasonCaptured
	ReasonNoCaptureSocket
	ReasonOtherNetns
	ReasonBoundDevice
	ReasonNotListening
	ReasonNoStorage
	ReasonHandoff
	ReasonHandoffLost
	ReasonOffloaded
	ReasonOffloadTarget
	ReasonOffloadUnfit
	ReasonNoEndpoint
	ReasonServiceFull
	ReasonPolicyDenied
	ReasonConnectionLimit
	ReasonRulesLost
	reasonCount
)

// String returns the reason's name as statistics and tools show it, such as "not_listening".
func (r Reason) String() string {
	names := [...]string{
		"none", "not_tcp", "disabled", "proxy_mark", "proxy_cgroup", "capture_socket", "excluded", "no_rule", "pass_rule",
		"captured", "no_capture_socket", "other_netns", "bound_device", "not_listening", "no_storage", "handoff",
		"handoff_lost", "offloaded", "offload_target", "offload_unfit", "no_endpoint", "service_full",
		"policy_denied", "connection_limit", "rules_lost",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// ReasonNames are the names of all reasons, each at its number.
func ReasonNames() []string {
	names := make([]string, 0, reasonCount)
	for r := range reasonCount {
		names = append(names, r.String())
	}
	return names
}

// Text explains the reason to a person in one sentence.
func (r Reason) Text() string {
	texts := [...]string{
		"no decision was taken",
		"only TCP is captured",
		"interception is switched off, or has nothing to capture yet",
		"the socket carries the proxy's own mark",
		"the caller is in the proxy's own cgroup",
		"the destination is the capture socket itself",
		"an exclusion covers the destination",
		"no rule covers the destination",
		"the most specific rule leaves the destination alone",
		"a rule captures the destination",
		"a rule captures the destination, but weir has no capture socket of its address family",
		"a rule captures the destination, but the caller is in a network namespace where weir has no capture socket",
		"a rule captures the destination, but the socket is bound to a device and cannot reach weir",
		"a rule captures the destination, but nobody listens on weir's capture socket",
		"a rule captures the destination, but the kernel had no memory to remember where it was going",
		"the original destination was handed to the proxy",
		"the original destination could not be handed to the proxy",
		"a rule sends the connection to an endpoint, past weir",
		"the destination is the endpoint that the connection has just been sent to",
		"a rule sends the connection to an endpoint, but from this socket only weir can reach it",
		"the service has no usable endpoint",
		"the service has as many connections as it may have",
		"the rules of an rbac filter in front of the service deny it",
		"the service has as many connections as a connection_limit filter admits",
		"the rules did not fit, so that the fail policy holds for every destination",
	}
	if int(r) < len(texts) {
		return texts[r]
	}
	return r.String()
}

// Action is what the kernel does with a connection.
type Action uint32

// Actions, in the numbers of bpf/types.h.
const (
	// ActionPass leaves the connection alone.
	ActionPass Action = iota
	// ActionRedirect sends it to the capture socket.
	ActionRedirect
	// ActionRefuse makes connect() fail with ECONNREFUSED, before Linux 5.18 with EPERM.
	ActionRefuse
	// ActionOffload sends it to an endpoint of a service.
	ActionOffload
)

// String returns "pass", "redirect", "refuse" or "offload".
func (a Action) String() string {
	switch a {
	case ActionPass:
		return "pass"
	case ActionRedirect:
		return "redirect"
	case ActionRefuse:
		return "refuse"
	case ActionOffload:
		return "offload"
	}
	return fmt.Sprintf("action_%d", uint32(a))
}

// Counters returns how often each reason was given since the programs were loaded, by the reason's name, over all CPUs. Reasons
// that were never given are there with 0.
func (i *Interceptor) Counters() (map[string]uint64, error) {
	i.life.RLock()
	defer i.life.RUnlock()
	if i.ended {
		return nil, fmt.Errorf("read counters: %w", errClosed)
	}
	return program.Counters(i.objects.Reasons, ReasonNotTCP, reasonCount)
}
