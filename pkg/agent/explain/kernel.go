package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// elsewhere stands for the cookie of any network namespace that is not weir's. The kernel counts cookies from 1 up.
const elsewhere = ^uint64(0)

// kernel asks the kernel. The reason is there when it does not capture.
func (w *walk) kernel() (fate, string) {
	if w.caller != nil && w.caller.Remote {
		why := "it begins on another host, where weir's programs do not see it"
		w.step("kernel", "pass: "+why)
		return fatePassed, why
	}
	k := w.opt.Kernel()
	if k == nil {
		why := "interception is off: " + w.whyOff()
		w.step("kernel", why)
		return fatePassed, why
	}
	query := intercept.Query{Dst: w.q.Dst}
	if c := w.caller; c != nil {
		query.Cgroup = c.ID
	}
	x, err := w.decide(k, query)
	if err != nil {
		w.step("kernel", "unknown: "+err.Error())
		return fateUnknown, err.Error()
	}
	w.meant = x.Listener
	s := w.step("kernel", action(&x))
	decision(s, &x)
	attached, why := w.attached(k, s)
	switch {
	case x.Action == intercept.ActionPass:
		return fatePassed, x.Reason.Text()
	case !attached:
		s.Result = unseen + s.Result
		return fatePassed, why
	case x.Action == intercept.ActionRefuse:
		return fateRefused, x.Reason.Text()
	case x.Action == intercept.ActionOffload:
		s.note("The endpoint is the one whose turn it is, or one that may be drawn.")
		return fateOffloaded, "endpoint " + x.Target.String() + " of service " + x.Service
	}
	w.client(s)
	w.acceleration(s)
	return fateCaptured, ""
}

// whyOff is why there is no kernel side.
func (w *walk) whyOff() string {
	if w.opt.Unavailable != nil {
		if err := w.opt.Unavailable(); err != nil {
			return err.Error()
		}
	}
	return "the configuration captures nothing"
}

// decision tells what the kernel decides, and by which rule.
func decision(s *Step, x *intercept.Explanation) {
	s.detail("reason", "%s: %s", x.Reason, x.Reason.Text())
	if x.Rule != nil {
		s.detail("rule", "%s", rule(x.Rule))
		s.detail("from", "%s", x.Rule.Origin)
		if x.Rule.Kept != "" {
			s.detail("not offloaded", "%s", x.Rule.Kept)
		}
	}
	if x.Service != "" {
		s.detail("service", "%s", x.Service)
	}
	if x.Policy != "" {
		s.detail("policy", "%s", x.Policy)
	}
	s.detail("rules", "generation %d", x.Generation)
}

// unseen begins what the kernel answers about a caller whose connections weir's programs do not see.
const unseen = "pass; for a captured process: "

// decide asks in the caller's network namespace, since that is where a capture socket is looked for. One that cannot be entered is
// none that weir has sockets in.
func (w *walk) decide(k Kernel, query intercept.Query) (x intercept.Explanation, err error) {
	if w.caller == nil || !w.caller.OtherNetns {
		return k.Explain(query)
	}
	query.Netns = elsewhere
	n, err := netns.Open(w.caller.Netns)
	if err != nil {
		return k.Explain(query)
	}
	defer n.Close()
	query.Netns = n.Cookie()
	err = n.Do(func() (err error) {
		x, err = k.Explain(query)
		return err
	})
	return x, err
}

// isSelf tells whether an address is weir's own for upstream connections of the caller.
func (w *walk) isSelf(addr netip.AddrPort) bool {
	return (w.caller == nil || !w.caller.OtherNetns) && w.opt.Listeners.SelfAddrs(addr)
}

func action(x *intercept.Explanation) string {
	switch x.Action {
	case intercept.ActionPass:
		return "pass: the kernel leaves the connection alone"
	case intercept.ActionRedirect:
		return fmt.Sprintf("redirect to weir's capture socket %s", x.Target)
	case intercept.ActionOffload:
		return fmt.Sprintf("offload to the endpoint %s, past weir", x.Target)
	case intercept.ActionRefuse:
		return "refuse: connect() fails with ECONNREFUSED"
	}
	return x.Action.String()
}

func rule(r *steer.Rule) string {
	port := "any port"
	if r.Port != 0 {
		port = fmt.Sprintf("port %d", r.Port)
	}
	text := fmt.Sprintf("%s, %s: %s", r.Prefix, port, r.Action)
	if r.Listener != "" {
		text += ", for listener " + r.Listener
	}
	return text
}

// attached tells whether weir's programs see the caller's connections, as far as the question says who that is.
func (w *walk) attached(k Kernel, s *Step) (bool, string) {
	status, err := k.Status()
	if err != nil {
		s.detail("caller", "unknown: %v", err)
		return true, ""
	}
	var names []string
	for i := range status.Cgroups {
		c := &status.Cgroups[i]
		if w.caller != nil && w.caller.in(c.Dir) {
			text := "cgroup " + w.caller.Cgroup + ", which weir's programs are attached to"
			if w.caller.Dir != c.Dir {
				text = "cgroup " + w.caller.Cgroup + ", below " + c.Name + ", which weir's programs are attached to"
			}
			s.detail("caller", "%s", text)
			w.namespace(s)
			return true, ""
		}
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		why := "weir's programs are attached to no cgroup"
		if len(status.MissingCgroups) > 0 {
			why += " (there is no " + strings.Join(status.MissingCgroups, ", ") + ")"
		}
		s.detail("caller", "any: %s", why)
		return false, why
	}
	if w.caller == nil || w.caller.Dir == "" {
		s.detail("caller", "not given; the answer holds for processes in %s", strings.Join(names, ", "))
		if w.caller != nil {
			w.namespace(s)
		}
		return true, ""
	}
	why := "the caller's cgroup " + w.caller.Cgroup + " is not in " + strings.Join(names, ", ") + ", where weir's programs are attached"
	s.detail("caller", "cgroup %s: not in %s, where weir's programs are attached", w.caller.Cgroup, strings.Join(names, ", "))
	w.namespace(s)
	return false, why
}

func (w *walk) namespace(s *Step) {
	if w.caller.OtherNetns && w.caller.Text == "" {
		s.note("The caller is in another network namespace than weir.")
	}
}
