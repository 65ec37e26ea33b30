package explain

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// DatagramKernel takes the kernel's decision about datagrams, a *datagram.Interceptor.
type DatagramKernel interface {
	Explain(datagram.Query) (datagram.Explanation, error)
	// Attached are the directories of cgroups whose datagrams it sees.
	Attached() []string
}

// Datagrams are what questions about datagrams are answered from.
type Datagrams struct {
	// Kernel gives the interceptor in use, a nil interface when there is none.
	Kernel func() DatagramKernel
	// Route gives the listener of a captured datagram's destination, Bound the one whose socket is there; nil when there is none.
	Route, Bound func(dst netip.AddrPort) *model.Listener
}

// datagram follows a datagram from the kernel to the endpoints.
func (w *walk) datagram() {
	d := w.opt.Datagrams
	if d == nil {
		w.verdict(OutcomeUnknown, "nothing is known about datagrams here.")
		return
	}
	what, why := w.datagramKernel(d)
	var l *model.Listener
	switch {
	case what == fateRefused:
		w.verdict(OutcomeRefused, "the kernel refuses this datagram, connect() and sendmsg() fail: "+why+".")
		return
	case what == fateCaptured || w.q.AssumeCaptured:
		l, w.prefix = d.Route(w.q.Dst), "weir takes this datagram"
		if what != fateCaptured {
			w.prefix = "if it were captured: " + w.prefix
		}
	default:
		if l = d.Bound(w.q.Dst); l == nil {
			w.verdict(OutcomeNotSeen, "weir does not see this datagram: "+why+". It goes where it would go without weir.")
			return
		}
		w.prefix = "the kernel leaves this datagram alone, and it reaches weir, which listens at its destination,"
	}
	if l == nil {
		w.step("listener", "none").note("No listener of datagrams has this address, or any address on this port, and none has use_original_dst.")
		w.verdict(OutcomeClosed, w.prefix+" and drops it: no listener is there for "+w.q.Dst.String()+".")
		return
	}
	s := w.step("listener", l.Name)
	s.detail("version", "%s", version(&l.Resource))
	s.detail("address", "%s", listenerAddress(l))
	w.datagramFilter(l)
}

// datagramKernel asks the kernel.
func (w *walk) datagramKernel(d *Datagrams) (fate, string) {
	if w.caller != nil && w.caller.Remote {
		why := "it begins on another host, where weir's programs do not see it"
		w.step("kernel", "pass: "+why)
		return fatePassed, why
	}
	k := d.Kernel()
	if k == nil {
		w.step("kernel", "pass: nothing happens to datagrams")
		return fatePassed, "nothing happens to datagrams"
	}
	query := datagram.Query{Dst: w.q.Dst}
	if c := w.caller; c != nil {
		query.Cgroup = c.ID
		query.Netns = c.cookie()
	}
	x, err := k.Explain(query)
	if err != nil {
		w.step("kernel", "unknown: "+err.Error())
		return fateUnknown, err.Error()
	}
	s := w.step("kernel", map[steer.Action]string{
		steer.Pass: "pass: the kernel leaves the datagram alone", steer.Redirect: "redirect to weir's capture socket",
		steer.Refuse: "refuse: connect() and sendmsg() fail with ECONNREFUSED",
	}[x.Action])
	s.detail("reason", "%s: %s", x.Reason, x.Reason.Text())
	if x.Rule != nil {
		s.detail("rule", "%s", rule(x.Rule))
		s.detail("from", "%s", x.Rule.Origin)
	}
	if x.Action != steer.Pass && !w.datagramCaller(k, s) {
		s.Result = unseen + s.Result
		return fatePassed, "the caller is in no cgroup that weir's programs for datagrams are attached to"
	}
	if x.Action == steer.Redirect {
		w.client(s)
	}
	return map[steer.Action]fate{steer.Pass: fatePassed, steer.Redirect: fateCaptured, steer.Refuse: fateRefused}[x.Action], x.Reason.Text()
}

// datagramCaller tells whether weir's programs see the caller's datagrams, as far as the question says who that is.
func (w *walk) datagramCaller(k DatagramKernel, s *Step) bool {
	dirs := k.Attached()
	if w.caller == nil || w.caller.Dir == "" {
		s.detail("caller", "not given; the answer holds for processes in %s", strings.Join(dirs, ", "))
		return len(dirs) > 0
	}
	for _, dir := range dirs {
		if w.caller.in(dir) {
			s.detail("caller", "cgroup %s, which weir's programs are attached to", w.caller.Cgroup)
			return true
		}
	}
	s.detail("caller", "cgroup %s: not in %s", w.caller.Cgroup, strings.Join(dirs, ", "))
	return false
}

// datagramFilter shows what the filter of a listener does with the datagram.
func (w *walk) datagramFilter(l *model.Listener) {
	if len(l.ListenerFilters) > 0 {
		switch f := l.ListenerFilters[0].Config.(type) {
		case *model.UDPProxy:
			w.datagramProxy(f)
			return
		case *model.DNSFilter:
			w.dnsFilter(f)
			return
		}
	}
	w.verdict(OutcomeUnknown, w.prefix+", but what its filter does is unknown.")
}

// dnsFilter shows how questions for names are answered. What this datagram asks is not known here.
func (w *walk) dnsFilter(f *model.DNSFilter) {
	s := w.step("dns filter", f.StatPrefix)
	for _, d := range f.Domains {
		s.detail("domain", "%s", d.Name)
	}
	others := "says that other names do not exist"
	if f.Forward != nil {
		others = "asks other servers for other names"
		for _, server := range f.Forward.Resolver.Servers {
			s.detail("server", "%s", server)
		}
	}
	w.verdict(OutcomeAnswered, w.prefix+" and answers questions for the names of its table; it "+others+".")
}

// datagramProxy shows where a proxy sends the datagram.
func (w *walk) datagramProxy(p *model.UDPProxy) {
	s := w.step("udp proxy", p.StatPrefix)
	name := p.Cluster
	if tree, ok := p.Matcher.(*matcher.Tree); ok {
		c := &streaminfo.Connection{Local: w.q.Dst, Remote: w.source(), DirectRemote: w.source()}
		action, _ := tree.Match(&matcher.Data{Info: &streaminfo.Info{Conn: c}, Trace: func(text string) { s.note("%s", text) }})
		if route, _ := action.(*model.UDPRoute); route != nil {
			name = route.Cluster
		}
	}
	switch {
	case name == "":
		s.Result += ": no route"
		w.verdict(OutcomeNoHost, w.prefix+" and drops it: the matcher has no route for it.")
	case w.opt.Cluster(name) == nil:
		s.Result += ": cluster " + name
		w.verdict(OutcomeNoHost, w.prefix+" and drops it: there is no cluster "+name+".")
	default:
		s.Result += ": cluster " + name
		w.forward("sends it", []target{{name: name}})
	}
}
