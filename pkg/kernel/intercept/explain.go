package intercept

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Query is a connection that somebody might make.
type Query struct {
	// Dst is where to.
	Dst netip.AddrPort
	// Mark is the socket's SO_MARK, Device the index of the device it is bound to; mostly 0.
	Mark, Device uint32
	// Cgroup is the id of the caller's cgroup, 0 for one that is not the proxy's. Whether programs are attached to it is not part
	// of the decision; see Status.
	Cgroup uint64
	// Netns is the cookie of the caller's network namespace; 0 for the proxy's own.
	Netns uint64
	// Protocol of the socket.
	Protocol steer.Protocol
}

// Explanation is the kernel's decision about a Query.
type Explanation struct {
	Action Action
	Reason Reason
	// Listener and Rule that decided, if one did. For ReasonExcluded the rule is an exclusion.
	Listener string
	Rule     *steer.Rule
	// Service that the rule offloads to, also when the connection is refused or captured after all.
	Service string
	// Target is the capture socket that a redirected connection goes to, or the endpoint that an offloaded one goes to: the one
	// whose turn it is, or one of those that may be drawn.
	Target netip.AddrPort
	// Policy says which rules deny it, for ReasonPolicyDenied: where they are counted, and the policy that matches, if one does.
	Policy string
	// Generation of the rules in force.
	Generation uint32
}

// Explain lets the kernel take its decision about a connection without making it: it runs the code that the connect hooks run.
// Whether the capture socket listens is looked up in the network namespace of the calling thread. Counters are not touched.
func (i *Interceptor) Explain(q Query) (Explanation, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Explanation{}, fmt.Errorf("explain %s: %w", q.Dst, errClosed)
	}
	verdict, err := i.run(q)
	if err != nil {
		return Explanation{}, fmt.Errorf("explain %s: %w", q.Dst, err)
	}
	explanation := Explanation{
		Action:     Action(verdict.Action),
		Reason:     Reason(verdict.Reason),
		Listener:   i.rules.names.name(verdict.Listener),
		Generation: i.applied.generation,
	}
	if rule, found := i.rules.byID[verdict.Rule]; found {
		explanation.Rule = &rule
	}
	if s := i.services.byBlock[verdict.Service]; s != nil {
		explanation.Service = s.name
		if explanation.Reason == ReasonPolicyDenied && s.spec != nil && s.spec.Policy != nil {
			explanation.Policy = denialBy(s.spec.Policy, q.Dst)
		}
	}
	if explanation.Action == ActionRedirect || explanation.Action == ActionOffload {
		explanation.Target = addrPort(verdict.Target, verdict.TargetPort)
	}
	return explanation, nil
}

// denialBy names the rules of a policy that deny connections to a destination.
func denialBy(p *steer.Policy, dst netip.AddrPort) string {
	v := p.Evaluate(netip.AddrPort{}, dst)
	switch {
	case v.Allowed:
		return ""
	case v.Policy == "":
		return p.Engines[v.Engine].Stat + "denied: no policy matches"
	}
	return p.Engines[v.Engine].Stat + "denied: policy " + v.Policy + " matches"
}

func (i *Interceptor) run(q Query) (wireVerdict, error) {
	in := wireExplain{Query: wireQuery{
		Mark: q.Mark, BoundIf: q.Device, Cgroup: q.Cgroup, Netns: q.Netns, Protocol: protocolOf(q.Protocol), Family: familyIPv6,
	}}
	in.Query.Addr, in.Query.Port = wireOf(q.Dst)
	if q.Dst.Addr().Is4() {
		in.Query.Family = familyIPv4
	}
	if q.Netns == 0 {
		in.Query.Netns = i.opts.Netns
	}
	data, err := in.marshal()
	if err != nil {
		return wireVerdict{}, err
	}
	out := make([]byte, len(data))
	code, err := i.objects.Explain.Run(&ebpf.RunOptions{Data: data, DataOut: out})
	if err != nil {
		return wireVerdict{}, fmt.Errorf("run program: %w", err)
	}
	if code != 0 {
		return wireVerdict{}, fmt.Errorf("run program: it returned %d", int32(code))
	}
	return unmarshalVerdict(out)
}
