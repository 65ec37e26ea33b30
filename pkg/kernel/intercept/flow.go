package intercept

import (
	"cmp"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Flow is a captured connection.
type Flow struct {
	// Dst is the address that the application asked for, IPv4 unmapped.
	Dst netip.AddrPort
	// Listener that the rule was made for; empty when only Dst decides, or when two updates have passed since.
	Listener string
	// Rule is the position of the rule in its plan, plus one.
	Rule uint32
	// Cookie is the client socket's SO_COOKIE.
	Cookie uint64
	// Cgroup is the id of the cgroup of the task that called connect().
	Cgroup uint64
	// PID and UID are that task's process and user id in the initial namespaces.
	PID, UID uint32
}

// generations remembers the listener names of the generation in force and of the one before, which connections on their way
// still refer to.
type generations struct {
	current, previous generation
}

type generation struct {
	number    uint32
	listeners []string
}

func (g *generations) with(number uint32, plan *steer.Plan) *generations {
	return &generations{current: generation{number, plan.Listeners()}, previous: g.current}
}

// listener returns the name of a listener by its id, or "".
func (g *generations) listener(number, id uint32) string {
	for _, candidate := range [...]*generation{&g.current, &g.previous} {
		if candidate.number == number && id > 0 && int(id) <= len(candidate.listeners) {
			return candidate.listeners[id-1]
		}
	}
	return ""
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
	if i.ended || i.objects.Handoff.LookupAndDelete(pair, flow) != nil {
		return Flow{}, false
	}
	return Flow{
		Dst:      addrPort(flow.Addr, flow.Port),
		Listener: i.names.Load().listener(flow.Generation, flow.Listener),
		Rule:     flow.Rule,
		Cookie:   flow.Cookie,
		Cgroup:   flow.Cgroup,
		PID:      flow.PID,
		UID:      flow.UID,
	}, true
}
