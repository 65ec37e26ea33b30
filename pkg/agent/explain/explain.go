// Package explain answers what would become of a connection: it takes the decisions that the kernel, the listeners, the filter
// chains, the routes and the clusters would take, with their own code, and says of each what decided it.
//
// It owns the questions, the answers and their layout. It must not know the admin interface, how configuration arrives, or
// protobuf. It dials nothing, counts nothing and changes nothing; what cannot be known without the connection is said to be
// unknown. An Explainer holds no state, so any number of goroutines may use it; each answer looks at what is in force while
// it is made, which an update may change between two steps.
package explain

import (
	"errors"
	"net/netip"
	"net/url"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// Kernel takes the kernel's decision, an *intercept.Interceptor.
type Kernel interface {
	Explain(intercept.Query) (intercept.Explanation, error)
	Status() (intercept.Status, error)
}

// Listeners find what takes a connection, a *listener.Manager.
type Listeners interface {
	Route(dst netip.AddrPort) (listener.Route, bool)
	Bound(dst netip.AddrPort) (listener.Route, bool)
	Arrival(dst netip.AddrPort) (listener.Route, bool)
	SelfAddrs(addr netip.AddrPort) bool
}

// Cluster is a cluster at work, a *cluster.Cluster.
type Cluster interface {
	Config() *model.Cluster
	Hosts() []*upstream.Host
	Stats() *metrics.Cluster
}

// Options are what an Explainer asks. All are required but Unavailable and Runtime.
type Options struct {
	// Kernel gives the interceptor in use, a nil interface when there is none.
	Kernel func() Kernel
	// Unavailable tells why there is none; it may give nil.
	Unavailable func() error
	// Acceleration tells what of it is in force, and whether it was asked for; it may be nil.
	Acceleration func() (Acceleration, bool)
	// Caller finds the process or cgroup that a question is about; HostCaller looks at this host.
	Caller func(cgroup string, pid int) (Caller, error)
	// Source finds the caller that a word stands for; nil knows no words.
	Source func(text string) (Caller, error)
	// SourceAddr is the address that the kernel would send from to dst, in the network namespace of a file, "" for weir's own; false
	// when there is none. It may be nil: then sources that the question does not give are taken to be the loopback.
	SourceAddr func(netns string, datagram bool, dst netip.AddrPort) (netip.Addr, bool)
	Listeners  Listeners
	// Arrivals tells what happens where connections arrive; nil when nothing does.
	Arrivals *Arrivals
	// Datagrams answers questions about datagrams; nil answers none.
	Datagrams *Datagrams
	// Routes gives the RDS route configuration of a name, nil when there is none yet.
	Routes func(name string) *model.RouteConfig
	// Scope gives the SRDS scope of a source (model.Source.ID) and key, and Hosts the virtual hosts that VHDS delivered for a route configuration, nil when
	// there is none; either may be nil.
	Scope func(source, key string) *model.Scope
	Hosts func(routes string) *model.HostSet
	// FilterConfig gives the filter configuration of ECDS of a name, nil when there is none yet; it may be nil.
	FilterConfig func(name string) *model.FilterConfig
	// Runtime answers runtime keys; nil knows none.
	Runtime *model.Runtime
	// ServiceCluster is the name of the cluster that weir belongs to, for rate limit descriptors; may be empty.
	ServiceCluster string
	// Cluster gives a cluster by name, a nil interface when there is none.
	Cluster func(name string) Cluster
	// Endpoints gives what EDS said of a name, nil when it said nothing yet.
	Endpoints func(name string) *model.LoadAssignment
	// Secret gives a secret by name, nil when there is none yet.
	Secret func(name string) *model.Secret
}

// Explainer answers questions about connections.
type Explainer struct{ opt Options }

// New makes an explainer.
func New(opt Options) *Explainer { return &Explainer{opt} }

// Explain answers the parameters of a request; ParseQuery lists them. The error is about the parameters.
func (e *Explainer) Explain(params url.Values) (*Answer, error) {
	q, err := ParseQuery(params)
	if err != nil {
		return nil, err
	}
	return e.Answer(q)
}

// Answer follows a connection from the kernel to the endpoints. The error says that the caller in the question is not to be
// found on this host.
func (e *Explainer) Answer(q *Query) (*Answer, error) {
	w := &walk{opt: &e.opt, q: q, answer: &Answer{Query: q.String()}}
	if err := w.who(); err != nil {
		return nil, err
	}
	if q.UDP {
		w.datagram()
	} else {
		w.run()
	}
	return w.answer, nil
}

// walk is the making of one answer.
type walk struct {
	opt    *Options
	q      *Query
	caller *Caller // nil when the question names none
	answer *Answer
	// prefix begins the verdict: how the connection comes to weir.
	prefix string
	// direct tells that it comes to a listener's own socket, without an original destination.
	direct bool
	// missed is why a connection that is not captured where it begins is not captured where it arrives either, "" when nobody
	// could expect that.
	missed string
	// refused is why it is refused where it arrives, "" when it is not.
	refused string
	// meant is the listener that the kernel's rule was made for, "" when there is none.
	meant string
	// from is where the connection comes from as listeners see it, once source was called.
	from netip.AddrPort
}

// fate is what the kernel does with the connection.
type fate uint8

const (
	fatePassed fate = iota
	fateCaptured
	fateRefused
	fateUnknown
	fateOffloaded
)

// Outcomes of a connection, for programs.
const (
	OutcomeNotSeen   = "not_seen"   // it goes where it would go without weir
	OutcomeRefused   = "refused"    // connect() fails
	OutcomeClosed    = "closed"     // weir accepts it and closes it, or resets it
	OutcomeOffloaded = "offloaded"  // the kernel sends it to an endpoint, past weir
	OutcomeAnswered  = "answered"   // weir answers the request itself
	OutcomeForwarded = "forwarded"  // it reaches an endpoint
	OutcomeNoHost    = "no_cluster" // it is meant for a cluster that is not there, or has no endpoint
	OutcomeUnknown   = "unknown"    // the kernel did not say, or explain does not know the filter that serves it
)

func (w *walk) run() {
	what, why := w.kernel()
	r, ok := w.taker(what)
	switch {
	case w.refused != "":
		w.verdict(OutcomeRefused, "the kernel refuses this connection where it arrives: "+w.refused+".")
	case what == fateRefused:
		w.verdict(OutcomeRefused, "the kernel refuses this connection, connect() fails: "+why+".")
	case w.prefix == "" && what == fateOffloaded:
		w.verdict(OutcomeOffloaded, "the kernel sends this connection to "+why+". It does not pass through weir.")
	case w.prefix == "" && what == fateUnknown:
		w.verdict(OutcomeUnknown, "whether weir sees this connection is unknown: "+why+".")
	case w.prefix == "":
		if w.missed != "" {
			why += "; where it arrives, " + w.missed
		}
		w.verdict(OutcomeNotSeen, "weir does not see this connection: "+why+". It goes where it would go without weir.")
	case !ok:
		s := w.step("listener", "none")
		s.note("No listener has this address, or any address on this port, and none has use_original_dst.")
		w.verdict(OutcomeClosed, w.prefix+" and resets it: no listener is there for "+w.q.Dst.String()+".")
	default:
		w.listener(r)
		w.chain(r)
	}
}

// taker finds the listener, and how the connection comes to it: prefix stays empty when it does not come to weir.
func (w *walk) taker(what fate) (listener.Route, bool) {
	if what == fateRefused || what == fateOffloaded && !w.q.AssumeCaptured {
		return listener.Route{}, false
	}
	if what == fateCaptured || w.q.AssumeCaptured {
		w.prefix = "weir takes this connection"
		if what != fateCaptured {
			w.prefix = "if it were captured: " + w.prefix
		}
		return w.opt.Listeners.Route(w.q.Dst)
	}
	r, ok := w.opt.Listeners.Bound(w.q.Dst)
	if ok {
		w.prefix, w.direct = "the kernel leaves this connection alone, and it reaches weir, which listens at its destination,", true
		if what == fateUnknown {
			w.prefix = "unless the kernel captures it, this connection reaches weir, which listens at its destination,"
		}
		return r, ok
	}
	return w.arrival()
}

func (w *walk) verdict(outcome, text string) { w.answer.Outcome, w.answer.Verdict = outcome, text }

// closed ends the answer with a connection that weir closes.
func (w *walk) closed(why string) {
	w.verdict(OutcomeClosed, w.prefix+" and closes it: "+why+".")
}

// step begins the next step. The pointer is good until the one after it.
func (w *walk) step(name, result string) *Step {
	w.answer.Steps = append(w.answer.Steps, Step{Name: name, Result: result})
	return &w.answer.Steps[len(w.answer.Steps)-1]
}

var errNoCaller = errors.New("neither a cgroup nor a process is given")
