package agent

import (
	"net/netip"
	"net/url"

	"github.com/weir-proxy/weir/pkg/agent/callers"
	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// explainer answers /weir/explain.
type explainer struct {
	*explain.Explainer
	// count brings up to date what is counted of connections past weir.
	count func()
}

var _ admin.Explainer = explainer{}

// Explain implements admin.Explainer.
func (e explainer) Explain(params url.Values) (admin.Explanation, error) {
	e.count()
	answer, err := e.Explainer.Explain(params)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return answer, nil
}

// newExplainer looks at what is in force, without changing it.
func (a *Agent) newExplainer() *explain.Explainer {
	return explain.New(explain.Options{
		Kernel: func() explain.Kernel {
			if k := a.capture.kernel.Load(); k != nil {
				return k
			}
			return nil
		},
		Datagrams: &explain.Datagrams{
			Kernel: func() explain.DatagramKernel {
				if k := a.datagrams.kernel.Load(); k != nil {
					return k
				}
				return nil
			},
			Route: a.udp.Route, Bound: a.udp.Bound,
		},
		Acceleration: a.explainAcceleration,
		Unavailable:  a.capture.problem, Caller: explain.HostCaller, Source: a.source, SourceAddr: explainedSource, Listeners: a.listeners,
		Arrivals: &explain.Arrivals{
			Kernel: func() explain.ArrivalKernel {
				if k := a.capture.inbound.kernel.Load(); k != nil {
					return k
				}
				return nil
			},
			Home: a.home,
		},
		Scope: a.scope, Hosts: a.hostSet, FilterConfig: a.filterConfig, Routes: a.route, Runtime: a.runtime.Readers(), Secret: a.Secret, ServiceCluster: a.cfg.Static.Node.Cluster,
		Cluster: func(name string) explain.Cluster {
			if c := a.clusters.Get(name); c != nil {
				return c
			}
			return nil
		},
		Endpoints: func(name string) *model.LoadAssignment {
			if snap := a.store.Snapshot(); snap != nil {
				return snap.Endpoints.Get(name)
			}
			return nil
		},
	})
}

// callers finds who is meant by a word.
func (a *Agent) callers() (*callers.Finder, error) {
	h, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	return callers.New(h, a.capture.namespaces.serves), nil
}

// source finds the caller that a word stands for.
func (a *Agent) source(text string) (explain.Caller, error) {
	f, err := a.callers()
	if err != nil {
		return explain.Caller{}, err
	}
	return f.Find(text)
}

// home finds the network namespace that has an address.
func (a *Agent) home(addr netip.Addr, from string) (cookie uint64, name string, ok bool) {
	f, err := a.callers()
	if err != nil {
		return 0, "", false
	}
	return f.Home(addr, from)
}
