package intercept

import (
	"cmp"
	"net/netip"
)

// Flow is a captured connection.
type Flow struct {
	// Dst is the address that the application asked for, IPv4 unmapped.
	Dst netip.AddrPort
	// Listener that the rule was made for; empty when only Dst decides, when the listener has gone for some time, or when a
	// daemon before this one captured the connection.
	Listener string
	// Rule is the number of the rule.
	Rule uint32
	// Cookie is the client socket's SO_COOKIE.
	Cookie uint64
	// Cgroup is the id of the cgroup of the task that called connect().
	Cgroup uint64
	// PID and UID are that task's process and user id in the initial namespaces.
	PID, UID uint32
}

// OriginalDst tells where an accepted connection was going before it was captured: client and server are its remote and local
// address as accept reports them. It can be asked once for each connection, since the answer is taken out of the kernel's map.
// The result is false for a connection that was not captured, or whose entry was pushed out by 16384 others before it was
// accepted. netns is the cookie of the network namespace that it was accepted in; 0 is that of Options.Netns. A closed
// Interceptor knows no connection.
func (i *Interceptor) OriginalDst(netns uint64, client, server netip.AddrPort) (Flow, bool) {
	exchange := struct {
		pair wirePair
		flow wireFlow
	}{pair: wirePair{Netns: cmp.Or(netns, i.opts.Netns)}}
	pair, flow := &exchange.pair, &exchange.flow
	pair.Client, pair.ClientPort = wireOf(client)
	pair.Server, pair.ServerPort = wireOf(server)
	i.life.RLock()
	defer i.life.RUnlock()
	if i.ended || takeFlow(i.objects.Handoff.FD(), pair, flow) != nil {
		return Flow{}, false
	}
	out := Flow{
		Dst:    addrPort(flow.Addr, flow.Port),
		Cookie: flow.Cookie,
		Cgroup: flow.Cgroup,
		PID:    flow.PID,
		UID:    flow.UID,
	}
	if flow.Epoch == i.numbers.epoch {
		out.Listener, out.Rule = i.rules.names.name(flow.Listener), flow.Rule
	}
	return out, true
}
