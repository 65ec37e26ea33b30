package agent

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// counts adds what the kernel counted for a service to the statistics that its listener, TCP proxy, clusters and hosts would
// have moved. services.mu guards it.
type counts struct {
	root            *stats.Scope
	listener, proxy *stats.Scope
	first           string // the first cluster
	down            downstreamCounts
	before          beforeCounts
	hosts           map[steer.Endpoint]*upstream.HostStats
	watched         bool            // by outlier detection
	panics          map[string]bool // by cluster
	// What was added up to now.
	last     intercept.ServiceStats
	byHost   map[steer.Endpoint]intercept.EndpointStats
	clusters map[string]intercept.EndpointStats
	// inherited is how many connections of an earlier weir the gauges count, by endpoint, and peers the endpoint of each.
	inherited map[steer.Endpoint]int64
	peers     []netip.AddrPort
}

// downstreamCounts are what a listener and its TCP proxy count.
type downstreamCounts struct {
	total, destroy, proxied, rx, tx *stats.Counter
	active                          *stats.Gauge
}

func newCounts(root *stats.Scope, spec *steer.Spec) *counts {
	c := &counts{root: root, byHost: make(map[steer.Endpoint]intercept.EndpointStats), clusters: make(map[string]intercept.EndpointStats)}
	c.scopes(spec)
	return c
}

func (c *counts) scopes(spec *steer.Spec) {
	c.listener, c.proxy = c.root.Scope("listener."+listener.StatPrefix(spec.Listener)), c.root.Scope("tcp."+spec.Proxy.StatPrefix)
	c.down = downstreamCounts{
		total: c.listener.Counter("downstream_cx_total"), destroy: c.listener.Counter("downstream_cx_destroy"), active: c.listener.Gauge("downstream_cx_active"),
		proxied: c.proxy.Counter("downstream_cx_total"), rx: c.proxy.Counter("downstream_cx_rx_bytes_total"), tx: c.proxy.Counter("downstream_cx_tx_bytes_total"),
	}
}

// serve counts for a spec and its hosts from now on.
func (c *counts) serve(spec *steer.Spec, made *built) {
	hosts := made.hosts
	for at, h := range hosts { // other counters of the same address begin with what there is
		if n := c.byHost[at].Active; n > 0 && c.hosts[at] != h {
			cluster.CountHost(h, &cluster.Traffic{Active: int64(n)})
		}
	}
	c.watched = false
	for _, h := range hosts {
		if now := h.Current.Load(); now != nil && now.Outlier != nil {
			c.watched = true
			break
		}
	}
	c.hosts, c.panics, c.first = hosts, made.panics, spec.Proxy.Clusters[0].Name
	listener, proxy, down := c.listener, c.proxy, c.down
	c.scopes(spec)
	if down.active != c.down.active {
		moved := int64(c.last.Active)
		down.active.Add(-moved)
		c.down.active.Add(moved)
	}
	listener.Close()
	proxy.Close()
	c.before.serve(c.root, spec, c.last.Active)
}

// close gives the statistics up; connections that go on are not counted any more.
func (c *counts) close(clusters func(string) *cluster.Cluster) {
	c.leave(clusters)
	c.listener.Close()
	c.proxy.Close()
	c.before.close(0)
}

// leave takes the connections that go on out of the gauges.
func (c *counts) leave(clusters func(string) *cluster.Cluster) {
	c.down.active.Add(-int64(c.last.Active))
	if c.before.active != nil {
		c.before.active.Add(-int64(c.last.Active))
	}
	for of, e := range c.clusters {
		if cl := clusters(of); cl != nil && e.Active > 0 {
			cl.Count(&cluster.Traffic{Active: -int64(e.Active)})
		}
	}
	for at, h := range c.hosts {
		cluster.CountHost(h, &cluster.Traffic{Active: -int64(c.byHost[at].Active)})
	}
	c.last.Active, c.byHost, c.clusters = 0, nil, nil
}

// judged tells whether outlier detection waits for what is counted.
func (c *counts) judged() bool { return c.watched }

// collect adds what was counted since the last time.
func (c *counts) collect(k steered, name string, clusters func(string) *cluster.Cluster) {
	totals, ok := k.ServiceTotals(name)
	if !ok || idle(&c.last, &totals) {
		return
	}
	now, ok := k.ServiceStats(name)
	if !ok {
		return
	}
	var rx, tx uint64
	sums := make(map[string]intercept.EndpointStats)
	seen := make(map[steer.Endpoint]intercept.EndpointStats, len(now.Endpoints))
	for _, e := range now.Endpoints {
		sums[e.Cluster] = sum(sums[e.Cluster], e)
		seen[e.Endpoint] = e
		if h := c.hosts[e.Endpoint]; h != nil {
			t := since(c.byHost[e.Endpoint], e)
			cluster.CountHost(h, &t)
			cluster.JudgeHost(h, &t)
		}
	}
	for _, e := range now.Gone {
		sums[e.Cluster] = sum(sums[e.Cluster], e)
	}
	for of, total := range sums {
		t := since(c.clusters[of], total)
		rx, tx = rx+t.TxBytes, tx+t.RxBytes // what goes to the host came from downstream
		if cl := clusters(of); cl != nil {
			cl.Count(&t)
			if c.panics[of] {
				cl.Stats().LBHealthyPanic.Add(t.Connections)
			}
		}
	}
	c.countDown(&now, rx, tx, clusters)
	c.last, c.byHost, c.clusters = now, seen, sums
	c.last.Endpoints, c.last.Gone = nil, nil
}

// countedClusters are all clusters, with what the kernel counted for their hosts.
func (a *Agent) countedClusters() model.Set[*cluster.Cluster] {
	a.capture.services.collect(everything)
	return a.clusters.All()
}

// countDown counts for the listener and the TCP proxy, which saw what was refused, too.
func (c *counts) countDown(now *intercept.ServiceStats, rx, tx uint64, clusters func(string) *cluster.Cluster) {
	refused := c.before.count(c.root, &c.last, now)
	nobody, overflow := later(c.last.NoEndpoint, now.NoEndpoint), later(c.last.Overflow, now.Overflow)
	if nobody+overflow > 0 {
		if cl := clusters(c.first); cl != nil {
			cl.Count(&cluster.Traffic{NoneHealthy: nobody, Overflow: overflow})
		}
	}
	begun, active := later(c.last.Total, now.Total), int64(now.Active)-int64(c.last.Active)
	all := begun + nobody + overflow + refused
	c.down.total.Add(all)
	c.down.proxied.Add(all)
	c.down.active.Add(active)
	c.down.destroy.Add(uint64(max(0, int64(all)-active)))
	c.down.rx.Add(rx)
	c.down.tx.Add(tx)
}

// idle tells that nothing was counted between two readings: there are no connections, which go on counting bytes, and none was
// begun or refused.
func idle(before, now *intercept.ServiceStats) bool {
	return before.Active == 0 && now.Active == 0 && before.Total == now.Total && before.NoEndpoint == now.NoEndpoint &&
		before.Overflow == now.Overflow && before.Denied == now.Denied && before.Limited == now.Limited
}

// later is by how much a counter went up; one that is lower than before began anew.
func later(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// since is what was counted between two readings.
func since(before, now intercept.EndpointStats) cluster.Traffic {
	return cluster.Traffic{
		Connections: later(before.Total, now.Total), Failed: later(before.ConnectFail, now.ConnectFail),
		Active:  int64(now.Active) - int64(before.Active),
		RxBytes: later(before.RxBytes, now.RxBytes), TxBytes: later(before.TxBytes, now.TxBytes),
	}
}

// sum adds the counters of an endpoint up.
func sum(a, b intercept.EndpointStats) intercept.EndpointStats {
	a.Active += b.Active
	a.Total += b.Total
	a.ConnectFail += b.ConnectFail
	a.RxBytes += b.RxBytes
	a.TxBytes += b.TxBytes
	return a
}
