package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// ArrivalKernel tells what is captured where it arrives, an *inbound.Inbound.
type ArrivalKernel interface {
	Status() (inbound.Status, error)
}

// Arrivals are what questions about connections to processes of this host are answered from.
type Arrivals struct {
	// Kernel gives the inbound capture in use, a nil interface when there is none.
	Kernel func() ArrivalKernel
	// Home finds the network namespace of this host that has an address, by its cookie and its name. from is the file of the
	// caller's own one, "" for weir's, which matters to loopback addresses.
	Home func(addr netip.Addr, from string) (cookie uint64, name string, ok bool)
}

// arrival follows a connection that nobody has captured to where it arrives, and finds the listener that takes it there.
func (w *walk) arrival() (listener.Route, bool) {
	if w.opt.Arrivals == nil {
		return listener.Route{}, false
	}
	k := w.opt.Arrivals.Kernel()
	if k == nil {
		return listener.Route{}, false
	}
	from := ""
	if w.caller != nil && w.caller.OtherNetns {
		from = w.caller.Netns
	}
	cookie, name, ok := w.opt.Arrivals.Home(w.q.Dst.Addr(), from)
	if !ok {
		return listener.Route{}, false
	}
	status, err := k.Status()
	if err != nil {
		w.step("arrival", "unknown: "+err.Error())
		return listener.Route{}, false
	}
	at := slices.IndexFunc(status.Namespaces, func(n inbound.NamespaceStatus) bool { return n.Cookie == cookie })
	if at < 0 {
		return listener.Route{}, false
	}
	reason, rule, place := arrives(&status, &status.Namespaces[at], w.q.Dst)
	if reason == inbound.ReasonNotCaptured {
		return listener.Route{}, false
	}
	s := w.step("arrival", arrivalText(reason, status.Plan.FailClosed))
	s.detail("reason", "%s: %s", reason, reason.Text())
	s.detail("namespace", "%s", name)
	s.detail("application", "listens on %s", place)
	if rule != nil {
		s.detail("rule", "%s, %s", arrivalRule(rule), rule.Origin)
	}
	s.detail("rules", "generation %d", status.Generation)
	if reason != inbound.ReasonCaptured {
		w.missed = reason.Text()
		return listener.Route{}, false
	}
	w.prefix = "weir takes this connection where it arrives"
	return w.opt.Listeners.Arrival(w.q.Dst)
}

// arrives takes the decision that bpf/inbound.bpf.c takes, in its order, from what its maps hold.
func arrives(s *inbound.Status, n *inbound.NamespaceStatus, dst netip.AddrPort) (reason inbound.Reason, rule *inbound.Rule, place netip.AddrPort) {
	if s.Plan == nil || len(s.Plan.Rules) == 0 {
		return inbound.ReasonNotCaptured, nil, place
	}
	listens := placeOf(n.Places, dst)
	switch {
	case listens == nil || listens.Captured == 0:
		return inbound.ReasonNotCaptured, nil, place
	case listens.Foreign > 0:
		return inbound.ReasonForeign, nil, listens.Addr
	case dst.Addr().IsLoopback() && !s.Plan.Loopback:
		return inbound.ReasonLoopback, nil, listens.Addr
	}
	if rule = covers(s.Plan.Excludes, dst); rule != nil {
		return inbound.ReasonExcluded, rule, listens.Addr
	}
	if rule = covers(s.Plan.Rules, dst); rule == nil {
		return inbound.ReasonNoRule, nil, listens.Addr
	}
	if !slices.ContainsFunc(n.Sinks, func(a netip.AddrPort) bool { return a.Addr().Is4() == dst.Addr().Is4() }) {
		return inbound.ReasonNoSocket, rule, listens.Addr
	}
	return inbound.ReasonCaptured, rule, listens.Addr
}

// placeOf is where the socket listens that gets a connection: on its very address, else on all addresses.
func placeOf(places []inbound.Place, dst netip.AddrPort) *inbound.Place {
	wildcard := netip.IPv6Unspecified()
	if dst.Addr().Is4() {
		wildcard = netip.IPv4Unspecified()
	}
	for _, addr := range []netip.AddrPort{dst, netip.AddrPortFrom(wildcard, dst.Port())} {
		if i := slices.IndexFunc(places, func(p inbound.Place) bool { return p.Addr == addr && p.Captured+p.Foreign > 0 }); i >= 0 {
			return &places[i]
		}
	}
	return nil
}

// covers is the most specific rule for the destination's port, else the most specific for any.
func covers(rules []inbound.Rule, dst netip.AddrPort) *inbound.Rule {
	var best *inbound.Rule
	for _, port := range []uint16{dst.Port(), 0} {
		for i := range rules {
			r := &rules[i]
			if r.Port == port && r.Prefix.Contains(dst.Addr()) && (best == nil || r.Prefix.Bits() > best.Prefix.Bits()) {
				best = r
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

func arrivalText(r inbound.Reason, closed bool) string {
	switch {
	case r == inbound.ReasonCaptured:
		return "given to weir's listening socket, with the addresses that it has"
	case r == inbound.ReasonNoSocket && closed:
		return "refused: weir cannot take it, and the fail policy is CLOSED"
	}
	return "left to the application"
}

func arrivalRule(r *inbound.Rule) string {
	text := r.Prefix.String() + ", any port"
	if r.Port != 0 {
		text = fmt.Sprintf("%s, port %d", r.Prefix, r.Port)
	}
	return text
}
