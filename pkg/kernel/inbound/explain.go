package inbound

import (
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Explanation is the kernel's decision about a connection.
type Explanation struct {
	Reason Reason
	// Action is what becomes of the connection; the fail policy is in it.
	Action steer.Action
	// Rule that decided, if one did; for ReasonExcluded an exclusion.
	Rule *Rule
	// Verdict of the rule's policy, for ReasonPolicyDenied.
	Verdict steer.PolicyVerdict
	// Generation of the rules in force.
	Generation uint32
}

// Explain lets the kernel take its decision about a connection from client to server in a network namespace, by the code that takes
// it for connections that come. Nothing is counted.
func (i *Inbound) Explain(netns uint64, client, server netip.AddrPort) (Explanation, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Explanation{}, fmt.Errorf("explain %s: %w", server, errClosed)
	}
	in := wireExplain{Pair: pairOf(netns, client, server)}
	if err := program.Run(i.objects.Explain, &in); err != nil {
		return Explanation{}, fmt.Errorf("explain %s: %w", server, err)
	}
	x := Explanation{Reason: Reason(in.Reason), Action: steer.Action(in.Action), Generation: i.generation}
	x.Rule = i.plan.numbered(in.Rule.ID, x.Reason == ReasonExcluded)
	if x.Reason == ReasonPolicyDenied && x.Rule != nil && x.Rule.Policy != nil {
		x.Verdict = x.Rule.Policy.Evaluate(client, server)
	}
	return x, nil
}
