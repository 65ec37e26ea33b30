package datagram

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// OriginalDst tells where a captured datagram was going: client sent it in the network namespace with that cookie, 0 for the proxy's
// own, and local is the address of the capture socket that it came to. false when it was not captured, when its destination is forgotten (65536 others of IPv4 came since), or when the client's
// socket of IPv6 is closed. It may be asked as often as one likes; a question costs a system call, so remember the answer for a
// while. For IPv6 the calling thread must be in that namespace.
func (i *Interceptor) OriginalDst(netns uint64, client, local netip.AddrPort) (netip.AddrPort, bool) {
	i.life.RLock()
	defer i.life.RUnlock()
	if i.objects == nil {
		return netip.AddrPort{}, false
	}
	if number, ok := numberOf(local.Addr()); ok {
		var dest wireDest
		if i.objects.Dests.Lookup(number, &dest) != nil {
			return netip.AddrPort{}, false
		}
		return dest.addrPort(), true
	}
	if netns == 0 {
		netns = i.opts.Netns
	}
	slot := slices.Index(i.ports[netns].IPv6, local.Port())
	if slot < 0 {
		return netip.AddrPort{}, false
	}
	find := wireFind{Slot: uint32(slot), LocalPort: portOf(local.Port())}
	find.Client, find.ClientPort = wireOf(client)
	if program.Run(i.objects.Find, &find) != nil || find.Found == 0 {
		return netip.AddrPort{}, false
	}
	return find.Dest.addrPort(), true
}

// Query is a datagram that somebody might send.
type Query struct {
	// Dst is where to.
	Dst netip.AddrPort
	// Mark is the socket's SO_MARK, Device the index of the device it is bound to; mostly 0.
	Mark, Device uint32
	// Cgroup is the id of the caller's cgroup, 0 for one that is not the proxy's.
	Cgroup uint64
	// Netns is the cookie of the caller's network namespace; 0 for that of the capture sockets.
	Netns uint64
}

// Explanation is the kernel's decision about a Query. Rule is what decided, nil when none did; for ReasonExcluded it is an exclusion.
type Explanation struct {
	Action steer.Action
	Reason Reason
	Rule   *steer.Rule
}

// Explain lets the kernel take its decision about a datagram without sending it; counters are not touched. Whether capture sockets are
// there is looked up for the namespace of Options.Netns alone, in which the caller must be. Without rules nothing is
// loaded, and everything passes.
func (i *Interceptor) Explain(q Query) (Explanation, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.objects == nil {
		return Explanation{Action: steer.Pass, Reason: ReasonDisabled}, nil
	}
	e := wireExplain{Query: wireQuery{BoundIf: q.Device, Mark: q.Mark, Cgroup: q.Cgroup, Netns: q.Netns}}
	e.Query.Addr, e.Query.Port = wireOf(q.Dst)
	if q.Netns == 0 {
		q.Netns = i.opts.Netns
		e.Query.Netns = q.Netns
	}
	if q.Netns != i.opts.Netns {
		e.Query.Elsewhere = 1
	}
	if err := program.Run(i.objects.Explain, &e); err != nil {
		return Explanation{}, fmt.Errorf("explain udp %s: %w", q.Dst, err)
	}
	out := Explanation{Action: steer.Action(e.Verdict.Action), Reason: Reason(e.Verdict.Reason)}
	if r := i.plan.Numbered(e.Verdict.Rule, out.Reason == ReasonExcluded); r != nil {
		rule := *r
		out.Rule = &rule
	}
	return out, nil
}
