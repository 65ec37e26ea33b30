package agent

import (
	"net/url"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// explainer answers /weir/explain.
type explainer struct{ *explain.Explainer }

var _ admin.Explainer = explainer{}

// Explain implements admin.Explainer.
func (e explainer) Explain(params url.Values) (admin.Explanation, error) {
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
		Unavailable: a.capture.problem, Caller: explain.HostCaller, Listeners: a.listeners,
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
