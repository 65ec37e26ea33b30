package explain

import (
	"fmt"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// ArrivalKernel tells what is captured where it arrives, an *inbound.Inbound.
type ArrivalKernel interface {
	// Explain takes the decision about a connection in a network namespace, by its cookie.
	Explain(netns uint64, client, server netip.AddrPort) (inbound.Explanation, error)
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
	x, err := k.Explain(cookie, w.source(), w.q.Dst)
	if err != nil {
		w.step("arrival", "unknown: "+err.Error())
		return listener.Route{}, false
	}
	if x.Reason == inbound.ReasonNotCaptured || x.Reason == inbound.ReasonDisabled {
		return listener.Route{}, false
	}
	s := w.step("arrival", arrivalText(&x))
	s.detail("reason", "%s: %s", x.Reason, x.Reason.Text())
	s.detail("namespace", "%s", name)
	if x.Rule != nil {
		s.detail("rule", "%s, %s", arrivalRule(x.Rule), x.Rule.Origin)
		if x.Rule.Kept != "" {
			s.detail("not refused in the kernel", "%s", x.Rule.Kept)
		}
	}
	if x.Reason == inbound.ReasonPolicyDenied {
		s.detail("policy", "%s", x.Verdict.Policy)
	}
	s.detail("rules", "generation %d", x.Generation)
	if x.Reason != inbound.ReasonCaptured {
		if w.missed = x.Reason.Text(); x.Action == steer.Refuse {
			w.refused = w.missed
		}
		return listener.Route{}, false
	}
	w.prefix = "weir takes this connection where it arrives"
	return w.opt.Listeners.Arrival(w.q.Dst)
}

func arrivalText(x *inbound.Explanation) string {
	switch {
	case x.Action == steer.Redirect:
		return "given to weir's listening socket, with the addresses that it has"
	case x.Reason == inbound.ReasonPolicyDenied:
		return "refused: rbac rules deny it"
	case x.Action == steer.Refuse:
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
