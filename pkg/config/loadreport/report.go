package loadreport

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// tracked is what was reported of a cluster before.
type tracked struct {
	since     time.Time
	dropped   uint64
	droppedBy map[string]uint64
	hosts     map[any]counts
}

// counts are the counters of a host.
type counts struct{ issued, succeeded, failed uint64 }

// track begins with the clusters that the server asks for now, and forgets the others. What was counted before a cluster was asked
// for is not reported; what is reported goes on. It returns the time until the next report.
func (r *Reporter) track() time.Duration {
	names := r.asked.GetClusters()
	if r.asked.GetSendAllClusters() {
		names = r.opt.Clusters.Names()
	}
	next := make(map[string]*tracked, len(names))
	for _, name := range names {
		t := r.clusters[name]
		if t == nil {
			t = &tracked{since: time.Now()}
			if c, ok := r.opt.Clusters.Load(name); ok {
				t.latch(&c)
			}
		}
		next[name] = t
	}
	r.clusters = next
	return max(r.asked.GetLoadReportingInterval().AsDuration(), minInterval)
}

// latch takes what has been counted so far for reported.
func (t *tracked) latch(c *Cluster) {
	t.dropped, t.droppedBy = c.Dropped, maps.Clone(c.DroppedBy)
	hosts := make(map[any]counts, len(c.Hosts))
	for i := range c.Hosts {
		h := &c.Hosts[i]
		hosts[h.Key] = counts{h.Issued, h.Succeeded, h.Failed}
	}
	t.hosts = hosts
}

// report is what the tracked clusters have counted since the last report, in order of their names.
func (r *Reporter) report(now time.Time) []*endpointv3.ClusterStats {
	var out []*endpointv3.ClusterStats
	for _, name := range slices.Sorted(maps.Keys(r.clusters)) {
		c, ok := r.opt.Clusters.Load(name)
		if !ok {
			continue
		}
		t := r.clusters[name]
		m := &endpointv3.ClusterStats{
			ClusterName: name, ClusterServiceName: c.Service, TotalDroppedRequests: since(t.dropped, c.Dropped),
			LoadReportInterval:    durationpb.New(now.Sub(t.since)),
			UpstreamLocalityStats: t.localities(&c, r.asked.GetReportEndpointGranularity()),
		}
		for _, category := range slices.Sorted(maps.Keys(c.DroppedBy)) {
			if n := since(t.droppedBy[category], c.DroppedBy[category]); n > 0 {
				m.DroppedRequests = append(m.DroppedRequests, &endpointv3.ClusterStats_DroppedRequests{Category: category, DroppedCount: n})
			}
		}
		t.latch(&c)
		t.since = now
		out = append(out, m)
	}
	return out
}

// since is how much a counter has grown. One that is smaller than before began anew.
func since(before, now uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// place is what traffic is added up by.
type place struct {
	priority              uint32
	region, zone, subZone string
}

func placeOf(l *model.Locality) place {
	if l == nil {
		return place{}
	}
	return place{l.Priority, l.Region, l.Zone, l.SubZone}
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.priority, q.priority), cmp.Compare(p.region, q.region), cmp.Compare(p.zone, q.zone), cmp.Compare(p.subZone, q.subZone))
}

// localities adds up the hosts of each locality and priority. As in Envoy, those without any traffic are left out.
func (t *tracked) localities(c *Cluster, endpoints bool) []*endpointv3.UpstreamLocalityStats {
	found := map[place]*endpointv3.UpstreamLocalityStats{}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		was := t.hosts[h.Key]
		n := counts{since(was.issued, h.Issued), since(was.succeeded, h.Succeeded), since(was.failed, h.Failed)}
		active := uint64(max(h.Active, 0))
		if n == (counts{}) && active == 0 {
			continue
		}
		at := placeOf(h.Locality)
		m := found[at]
		if m == nil {
			m = &endpointv3.UpstreamLocalityStats{
				Locality: &corev3.Locality{Region: at.region, Zone: at.zone, SubZone: at.subZone}, Priority: at.priority,
			}
			found[at] = m
		}
		m.TotalIssuedRequests += n.issued
		m.TotalSuccessfulRequests += n.succeeded
		m.TotalErrorRequests += n.failed
		m.TotalRequestsInProgress += active
		if endpoints {
			m.UpstreamEndpointStats = append(m.UpstreamEndpointStats, &endpointv3.UpstreamEndpointStats{
				Address: addressOf(h), TotalIssuedRequests: n.issued, TotalSuccessfulRequests: n.succeeded,
				TotalErrorRequests: n.failed, TotalRequestsInProgress: active,
			})
		}
	}
	out := make([]*endpointv3.UpstreamLocalityStats, 0, len(found))
	for _, at := range slices.SortedFunc(maps.Keys(found), place.compare) {
		out = append(out, found[at])
	}
	return out
}

func addressOf(h *Host) *corev3.Address {
	if h.Pipe != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: h.Pipe}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: h.Address.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(h.Address.Port())},
	}}}
}
