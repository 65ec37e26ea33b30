package inbound

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Reason says why the kernel decided as it did; enum inbound_reason in bpf/inbound.h explains each.
type Reason uint32

// Reasons, in the numbers of bpf/inbound.h.
const (
	ReasonNone Reason = iota
	ReasonDisabled
	ReasonNotCaptured
	ReasonForeign
	ReasonLoopback
	ReasonOwn
	ReasonExcluded
	ReasonNoRule
	ReasonCaptured
	ReasonNoSocket
	ReasonNotAssigned
	ReasonListen
	ReasonListenLost
	ReasonListenDevice
	ReasonOtherProgram
	ReasonNamed
	ReasonNameLost
	ReasonPolicyDenied
	ReasonRulesLost
	reasonCount
)

// String returns the reason's name as statistics show it, such as "not_captured".
func (r Reason) String() string {
	names := [...]string{
		"none", "disabled", "not_captured", "foreign", "loopback", "own", "excluded", "no_rule", "captured", "no_socket",
		"not_assigned", "listen", "listen_lost", "listen_device", "other_program",
		"named", "name_lost", "policy_denied", "rules_lost",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// Text explains the reason to a person in one sentence.
func (r Reason) Text() string {
	texts := [...]string{
		"no decision was taken",
		"inbound capture is switched off, or has nothing to capture yet",
		"no captured process listens on the address",
		"a process that is not captured listens on the same address too",
		"the destination is a loopback address",
		"it is the proxy's own connection to the application",
		"an exclusion covers the destination",
		"no inbound listener is there for the destination",
		"the connection was given to the proxy",
		"the proxy has no listening socket of the address family in the network namespace",
		"the kernel did not accept the proxy's listening socket",
		"a captured process began to listen",
		"a captured process began to listen, and there was no room to remember it",
		"a captured process began to listen on one device alone, which is left alone",
		"another program in the network namespace has chosen a socket",
		"an application accepted a connection that it sees as the client's own",
		"there was no memory for the client's address, so that the application sees the proxy's",
		"rbac rules of the listener deny the connection, and the client is refused",
		"the rules did not fit, so that the fail policy holds for every port that captured processes listen on",
	}
	if int(r) < len(texts) {
		return texts[r]
	}
	return r.String()
}

// ReasonNames are the names of all reasons, each at its number.
func ReasonNames() []string {
	names := make([]string, 0, reasonCount)
	for r := range reasonCount {
		names = append(names, r.String())
	}
	return names
}

// ReasonTexts are the texts of all reasons that have a counter, by their names.
func ReasonTexts() map[string]string {
	texts := make(map[string]string, reasonCount)
	for reason := ReasonDisabled; reason < reasonCount; reason++ {
		texts[reason.String()] = reason.Text()
	}
	return texts
}

// Counters returns how often each reason was given since the programs were loaded, by the reason's name, over all CPUs. Reasons
// that were never given are there with 0.
func (i *Inbound) Counters() (map[string]uint64, error) {
	i.life.RLock()
	defer i.life.RUnlock()
	if i.ended {
		return nil, fmt.Errorf("read counters: %w", errClosed)
	}
	return program.Counters(i.objects.Reasons, ReasonDisabled, reasonCount)
}
