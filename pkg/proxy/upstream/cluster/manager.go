// Package cluster runs the clusters of a configuration: their hosts, balancing, circuit breakers, statistics and
// connections.
//
// It owns the life of clusters and of what resolves their hosts. It must not know requests, filters or protobuf.
// Locking: Manager.mu serialises Apply and Close; Get, Pick, Reuse and the circuit breakers read atomics and take no
// lock of the manager. A Cluster's own mutex guards changes of its host list.
package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/dns"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/health"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// Options are what a Manager works with.
type Options struct {
	// Stats is the root scope.
	Stats *stats.Scope
	// Log is the logger "upstream"; nil discards.
	Log *slog.Logger
	// Wheel times idle connections; it must outlive the manager.
	Wheel *timer.Wheel
	// Poller takes the connections to hosts; it must outlive the manager.
	Poller *conn.Poller
	// Secrets gives TLS contexts the secrets that they name; nil when there are none.
	Secrets tlsctx.Secrets
	// Mark is set on sockets as SO_MARK; 0 sets none.
	Mark uint32
	// Passage lets connections to captured applications through; nil when nothing is captured on its way in.
	Passage conn.Passage
	// Self tells weir's own addresses, which are never connected to; nil refuses none.
	Self func(netip.AddrPort) bool
	// Resolver resolves DNS names; nil is the system's resolver in Go's own implementation.
	Resolver dns.Resolver
	// HealthGRPC makes the clients of gRPC health checks; HealthEvent is told what belongs into an event log, nil drops it.
	HealthGRPC  health.NewGRPC
	HealthEvent func(HealthEvent)
	// OutlierEvent is told what belongs into the event log of outlier detection; nil drops it.
	OutlierEvent func(OutlierEvent)
	// Rand gives random bits to balancers; nil is the runtime's generator.
	Rand func() uint64
	// Runtime answers the runtime keys of thresholds; nil knows none. RuntimeChanged tells of changes.
	Runtime *model.Runtime
	// Changed is told the name of a cluster that came, went, or whose hosts, their health or limits may have changed. It must
	// return at once and call nothing of the manager. Nil tells nobody.
	Changed func(name string)
}

// Manager runs the clusters. Make it with New.
type Manager struct {
	opt     Options
	runtime *pool.Runtime
	buffers *h1.Buffers // of all HTTP/1 connections

	clusters atomic.Pointer[model.Set[*Cluster]]
	// updated counts changes of the hosts of clusters, queries what resolvers are asked.
	updated *stats.Counter
	queries *dns.Queries

	// checks are the goroutines of active health checks.
	checks sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// applied is the last snapshot.
	applied *model.Snapshot
	roll    roll
	// discovered are the EDS clusters by the name of their endpoints.
	discovered map[string][]string
}

// New makes a manager without clusters. It must be closed.
func New(opt Options) *Manager {
	if opt.Log == nil {
		opt.Log = log.Discard()
	}
	if opt.Rand == nil {
		opt.Rand = rand.Uint64
	}
	if opt.Resolver == nil {
		opt.Resolver = dns.System()
	}
	if opt.Changed == nil {
		opt.Changed = func(string) {}
	}
	m := &Manager{opt: opt, runtime: pool.NewRuntime(opt.Wheel), buffers: h1.NewBuffers()}
	scope := opt.Stats.Scope("cluster_manager")
	m.updated, m.queries = scope.Counter("cluster_updated"), dns.NewQueries(opt.Stats)
	for _, name := range []string{"cluster_updated_via_merge", "update_merge_cancelled", "update_out_of_merge_window"} {
		scope.Counter(name) // stays 0: updates are applied when they come, which costs no more than to merge them
	}
	m.applied, m.discovered = &model.Snapshot{}, map[string][]string{}
	m.clusters.Store(&model.Set[*Cluster]{})
	return m
}

// percent draws a number of at least 0 and below 100.
func (m *Manager) percent() float64 { return 100 * float64(m.opt.Rand()>>11) / (1 << 53) }

// Get returns a cluster by name, nil when there is none.
func (m *Manager) Get(name string) *Cluster { return m.clusters.Load().Get(name) }

// Vacate gives a network namespace up: what is idle in it is closed at once, what is in use after its last request.
func (m *Manager) Vacate(in *streaminfo.Namespace) { m.runtime.Vacate(in) }

// All returns all clusters by name.
func (m *Manager) All() model.Set[*Cluster] { return *m.clusters.Load() }

// Apply makes the clusters those of a snapshot, at the cost of what differs from the one before. What has the same pointer
// as before is left alone: cluster, endpoints, connections. A changed cluster takes over the connections of the hosts that
// it keeps, unless it connects in another way now. Connections of removed hosts are closed when their requests are done.
func (m *Manager) Apply(snap *model.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	was := m.applied
	m.applied = snap
	next := m.All()
	var gone []func()
	var changed []string
	for name, c := range snap.Clusters.Changes(was.Clusters) {
		changed = append(changed, name)
		m.discover(name, c.Old, c.New)
		old := next.Get(name)
		if c.New == nil {
			next = next.Without(name)
			gone = append(gone, old.remove)
			continue
		}
		made, retire := m.build(c.New, old, assignment(snap, c.New))
		next = next.With(name, made)
		gone = append(gone, retire)
	}
	for name, a := range snap.Endpoints.Changes(was.Endpoints) {
		for _, cluster := range m.discovered[name] {
			next.Get(cluster).setAssignment(a.New)
		}
	}
	m.clusters.Store(&next)
	for _, name := range changed {
		m.opt.Changed(name)
	}
	for _, retire := range gone {
		retire()
	}
}

// discover notes which endpoints a cluster has by EDS. The configurations are nil where there is none.
func (m *Manager) discover(name string, old, now *model.Cluster) {
	if old != nil && old.NeedsEDS() {
		of := old.EDSName()
		m.discovered[of] = slices.DeleteFunc(m.discovered[of], func(n string) bool { return n == name })
		if len(m.discovered[of]) == 0 {
			delete(m.discovered, of)
		}
	}
	if now != nil && now.NeedsEDS() {
		m.discovered[now.EDSName()] = append(m.discovered[now.EDSName()], name)
	}
}

// assignment is the configured or discovered endpoints of a cluster; nil when none are known.
func assignment(snap *model.Snapshot, cfg *model.Cluster) *model.LoadAssignment {
	if cfg.NeedsEDS() {
		return snap.Endpoints.Get(cfg.EDSName())
	}
	return cfg.Inline
}

// WaitReady waits until the named clusters have resolved their names for the first time, whether that went well or not.
// Unknown names count as ready, and so do clusters that are not to be waited for (wait_for_warm_on_init). The error says which cluster was not ready when ctx ended.
func (m *Manager) WaitReady(ctx context.Context, names ...string) error {
	for _, name := range names {
		c := m.Get(name)
		if c == nil || c.cfg.SkipWarming {
			continue
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			return fmt.Errorf("wait for cluster %s: %w", name, context.Cause(ctx))
		}
	}
	return nil
}

// Close closes all connections and stops all resolving. It returns when nothing of it runs any more.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	for _, c := range m.All().All() {
		c.remove()
	}
	m.clusters.Store(&model.Set[*Cluster]{})
	m.checks.Wait()
	m.runtime.Close()
}
