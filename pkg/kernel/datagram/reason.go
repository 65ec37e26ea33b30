package datagram

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Reason says why the kernel decided as it did; enum weir_udp_reason in bpf/udp.h explains each.
type Reason uint32

// Reasons, in the numbers of bpf/udp.h.
const (
	ReasonNone Reason = iota
	ReasonDisabled
	ReasonProxyMark
	ReasonProxyCgroup
	ReasonCaptureSocket
	ReasonExcluded
	ReasonNoRule
	ReasonPassRule
	ReasonRefuseRule
	ReasonCaptured
	ReasonNoCaptureSocket
	ReasonOtherNetns
	ReasonBoundDevice
	ReasonNoRoom
	ReasonAnswered
	ReasonNotListening
	ReasonRulesLost
	reasonCount
)

// reasons are name and text of each.
func (r Reason) words() (name, text string) {
	all := [...][2]string{
		{"none", "no decision was taken"},
		{"disabled", "interception of datagrams is switched off, or has nothing to do yet"},
		{"proxy_mark", "the socket carries the proxy's own mark"},
		{"proxy_cgroup", "the caller is in the proxy's own cgroup"},
		{"capture_socket", "the destination is a capture socket itself"},
		{"excluded", "an exclusion covers the destination"},
		{"no_rule", "no rule covers the destination"},
		{"pass_rule", "the most specific rule leaves the destination alone"},
		{"refuse_rule", "the most specific rule refuses the destination"},
		{"captured", "a rule captures the destination"},
		{"no_capture_socket", "a rule captures the destination, but weir has no capture socket of its address family"},
		{"other_netns", "a rule captures the destination, but the caller is in another network namespace than weir"},
		{"bound_device", "a rule captures the destination, but the socket is bound to a device and cannot reach weir"},
		{"no_room", "a rule captures the destination, but the socket has had too many destinations, or the kernel no memory"},
		{"answered", "an answer was given the address that the application asked"},
		{"not_listening", "a rule captures the destination, but weir's capture socket is gone"},
		{"rules_lost", "the rules did not fit, so that the fail policy holds for every destination"},
	}
	if int(r) < len(all) {
		return all[r][0], all[r][1]
	}
	return fmt.Sprintf("reason_%d", uint32(r)), fmt.Sprintf("reason %d", uint32(r))
}

// String returns the reason's name as statistics and tools show it, such as "no_rule".
func (r Reason) String() string { name, _ := r.words(); return name }

// Text explains the reason to a person in one sentence.
func (r Reason) Text() string { _, text := r.words(); return text }

// ReasonNames are the names of all reasons, each at its number.
func ReasonNames() []string {
	names := make([]string, 0, reasonCount)
	for r := range reasonCount {
		names = append(names, r.String())
	}
	return names
}

// Counters returns how often each reason was given since the programs were loaded, by the reason's name, over all CPUs; all are 0
// before that.
func (i *Interceptor) Counters() (map[string]uint64, error) {
	i.life.RLock()
	defer i.life.RUnlock()
	var counters *ebpf.Map
	if i.objects != nil {
		counters = i.objects.Reasons
	}
	return program.Counters(counters, ReasonDisabled, reasonCount)
}
