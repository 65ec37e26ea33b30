package agent

import (
	"context"

	"github.com/weir-proxy/weir/pkg/config/loadreport"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// startLoadReports reports the traffic of clusters to the management server of the bootstrap, if there is one, until ctx ends.
func (a *Agent) startLoadReports(ctx context.Context) {
	src := a.cfg.Static.LoadStats
	if src == nil {
		return
	}
	r := loadreport.New(loadreport.Options{
		Service: src.Services[0], Dial: a.dialControlPlane, Node: a.node, Clusters: loads{a.clusters},
		Stats: a.stats.Root(), Log: a.logs.Logger("upstream"),
	})
	a.background.Go(func() { r.Run(ctx) })
}

// loads are the counters of the clusters, as load reports want them.
type loads struct{ of *cluster.Manager }

var _ loadreport.Clusters = loads{}

// Names implements loadreport.Clusters.
func (l loads) Names() []string { return l.of.All().Names() }

// Load implements loadreport.Clusters.
func (l loads) Load(name string) (loadreport.Cluster, bool) {
	c := l.of.Get(name)
	if c == nil {
		return loadreport.Cluster{}, false
	}
	st := c.Stats()
	out := loadreport.Cluster{
		Service:   c.Config().EDSServiceName,
		Dropped:   st.RqPendingOverflow.Value() + st.RqMaintenance.Value() + st.RqDropOverload.Value(),
		DroppedBy: c.Drops(),
	}
	hosts := c.HostsAwake()
	out.Hosts = make([]loadreport.Host, 0, len(hosts))
	for _, h := range hosts {
		out.Hosts = append(out.Hosts, loadreport.Host{
			Key: h.Stats, Address: h.Address, Pipe: h.Pipe, Locality: h.Locality, Active: h.Stats.RqActive.Load(),
			Issued: h.Stats.RqTotal.Load(), Succeeded: h.Stats.RqSuccess.Load(), Failed: h.Stats.RqError.Load(),
		})
	}
	return out, true
}
