package decisions

import (
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
)

// kind is what is known of one of the kernel's decisions.
type kind struct {
	kind                events.Kind
	direction, protocol string
	// reasons are names, each at its number. Of quiet ones nothing is told unless they are asked for.
	reasons, quiet []string
}

// kinds are all.
func kinds() []kind {
	return []kind{
		// The programs for connect() see sockets that are not TCP, too. These get their decision elsewhere, and a pass here would be taken
		// for it.
		{events.Connect, directionOut, "tcp", intercept.ReasonNames(), []string{intercept.ReasonNotTCP.String()}},
		{events.Datagram, directionOut, "udp", datagram.ReasonNames(), nil},
		// Where something is captured, whatever comes in is looked at, most of which is for nobody of concern.
		{events.Arrival, directionIn, "tcp", inbound.ReasonNames(), []string{
			inbound.ReasonDisabled.String(), inbound.ReasonNotCaptured.String(), inbound.ReasonOwn.String(),
		}},
	}
}

func directionNames() []string { return []string{directionOut, directionIn} }

func protocolNames() []string { return []string{"tcp", "udp", "other"} }

// notDecisions are counters of other things that happen.
func notDecisions() []string {
	return []string{
		"none", "handoff", "handoff_lost", "offload_target", "answered", "listen", "listen_lost", "listen_device", "named", "name_lost",
	}
}

// reasonNames are those of all kinds that a decision may have.
func reasonNames() []string {
	var names []string
	for _, k := range kinds() {
		for _, name := range k.reasons {
			if !slices.Contains(names, name) && !slices.Contains(notDecisions(), name) {
				names = append(names, name)
			}
		}
	}
	return names
}
