package agent

import (
	"context"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weir-proxy/weir/pkg/config/hds"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// healthDiscovery checks hosts on behalf of a management server. Its clusters are its own: traffic never goes there.
type healthDiscovery struct {
	clusters *cluster.Manager
	client   *hds.Client
	cancel   context.CancelFunc
	running  sync.WaitGroup
	snapshot *model.Snapshot
}

// newHealthDiscovery makes the client of hds_config; nil without.
func (a *Agent) newHealthDiscovery(root *stats.Scope) *healthDiscovery {
	api := a.cfg.Static.HDS
	if api == nil {
		return nil
	}
	h := &healthDiscovery{snapshot: &model.Snapshot{}}
	h.clusters = cluster.New(a.clusterOptions(root))
	service := api.Services[0]
	md := metadata.MD{}
	for _, m := range service.InitialMetadata {
		md.Append(m.Name, m.Value)
	}
	h.client = hds.New(hds.Options{
		Dial:     func() (grpc.ClientConnInterface, error) { return a.dialControlPlane(service) },
		Metadata: md, Node: a.node, Checker: h, Stats: root, Log: a.logs.Logger("hds"),
		Translate: func(m *clusterv3.Cluster) (*model.Cluster, error) {
			out, warnings, err := a.cfg.Translator.Cluster(m, translate.Meta{Dynamic: true, UpdatedAt: time.Now(), ManyHealthChecks: true})
			for _, w := range warnings {
				a.logs.Logger("hds").Warn("health discovery: " + w.String())
			}
			return out, err
		},
	})
	return h
}

// start begins to follow the server.
func (h *healthDiscovery) start() {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	h.running.Go(func() { h.client.Run(ctx) })
}

// close ends the stream and the checks. It may be called on nil, and without a start.
func (h *healthDiscovery) close() {
	if h == nil {
		return
	}
	if h.cancel != nil {
		h.cancel()
		h.running.Wait()
	}
	h.clusters.Close()
}

// Apply implements hds.Checker. Checks that are asked for as before go on.
func (h *healthDiscovery) Apply(clusters []*model.Cluster) {
	next := model.Set[*model.Cluster]{}
	for _, c := range clusters {
		next = next.With(c.Name, c)
	}
	h.snapshot = &model.Snapshot{Generation: h.snapshot.Generation + 1, Clusters: next}
	h.clusters.Apply(h.snapshot)
}

// Health implements hds.Checker.
func (h *healthDiscovery) Health(name string) map[*model.Endpoint]corev3.HealthStatus {
	c := h.clusters.Get(name)
	if c == nil {
		return nil
	}
	out := map[*model.Endpoint]corev3.HealthStatus{}
	for _, host := range c.Hosts() {
		out[host.Endpoint] = checkedHealth(host.Flags)
	}
	return out
}

// checkedHealth is what checks alone say of a host.
func checkedHealth(f upstream.HealthFlags) corev3.HealthStatus {
	switch {
	case f&upstream.PendingActiveHC != 0:
		return corev3.HealthStatus_UNKNOWN
	case f&upstream.FailedActiveHC != 0 && f&upstream.ActiveHCTimeout != 0:
		return corev3.HealthStatus_TIMEOUT
	case f&upstream.FailedActiveHC != 0:
		return corev3.HealthStatus_UNHEALTHY
	case f&upstream.DegradedActiveHC != 0:
		return corev3.HealthStatus_DEGRADED
	}
	return corev3.HealthStatus_HEALTHY
}
