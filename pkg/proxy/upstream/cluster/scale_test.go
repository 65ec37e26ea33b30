package cluster

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
)

// TestApplyCost pins that a change costs the same however many clusters there are: a copy of a list or a map of them would show
// in the bytes.
func TestApplyCost(t *testing.T) {
	const few, many = 20, 1000
	cost := map[string]map[int]uint64{"endpoint": {}, "cluster": {}}
	for _, n := range []int{few, many} {
		h := newHarness(t, func(o *Options) { o.Log = log.Discard() })
		snap := &model.Snapshot{}
		for i := range n {
			c := eds(fmt.Sprint("service-", i))
			snap.Clusters = snap.Clusters.With(c.Name, c)
			snap.Endpoints = snap.Endpoints.With(c.Name, endpoints(netip.MustParseAddrPort("127.0.0.1:1")))
		}
		h.Apply(snap)
		other := h.Get("service-8").Hosts()[0]
		for name, change := range map[string]func(*model.Snapshot){
			"endpoint": func(s *model.Snapshot) {
				s.Endpoints = s.Endpoints.With("service-7", endpoints(netip.MustParseAddrPort("127.0.0.1:1")))
			},
			"cluster": func(s *model.Snapshot) { s.Clusters = s.Clusters.With("service-7", eds("service-7")) },
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 20 {
				next := *snap
				change(&next)
				h.Apply(&next)
				snap = &next
			}
			runtime.ReadMemStats(&after)
			cost[name][n] = (after.TotalAlloc - before.TotalAlloc) / 20
		}
		if h.Get("service-8").Hosts()[0] != other || h.All().Len() != n {
			t.Error("another cluster was touched")
		}
	}
	for name, by := range cost {
		if by[many] > by[few]*3/2+2000 {
			t.Errorf("one %s costs %d bytes of %d and %d of %d", name, by[few], few, by[many], many)
		}
	}
}

// TestSharedEndpoints gives two clusters the same endpoints, and follows the one that goes over to others.
func TestSharedEndpoints(t *testing.T) {
	one, two := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")
	h := newHarness(t)
	named := func(name, service string) *model.Cluster {
		c := eds(name)
		c.EDSServiceName = service
		return c
	}
	at := func(name string) netip.AddrPort {
		hosts := h.Get(name).Hosts()
		if len(hosts) != 1 {
			t.Fatalf("%s has %d hosts", name, len(hosts))
		}
		return hosts[0].Address
	}
	s := snapshot(named("a", "shared"), named("b", "shared"))
	s.Endpoints = s.Endpoints.With("shared", endpoints(one))
	h.Apply(s)
	next := *s
	next.Endpoints = next.Endpoints.With("shared", endpoints(two))
	h.Apply(&next)
	if at("a") != two || at("b") != two {
		t.Errorf("a is at %v, b at %v", at("a"), at("b"))
	}
	moved := next
	moved.Clusters = moved.Clusters.With("a", named("a", "own"))
	moved.Endpoints = moved.Endpoints.With("own", endpoints(one)).With("shared", endpoints(one))
	h.Apply(&moved)
	if at("a") != one || at("b") != one {
		t.Errorf("a is at %v, b at %v", at("a"), at("b"))
	}
	if got := h.counter("cluster_manager.cluster_updated"); got != 3 { // both, then b: a is a new cluster
		t.Errorf("%d updates", got)
	}
	last := moved
	last.Endpoints = last.Endpoints.With("shared", endpoints(two))
	h.Apply(&last)
	if at("a") != one || at("b") != two {
		t.Errorf("after the change of b alone a is at %v, b at %v", at("a"), at("b"))
	}
	gone := last
	gone.Endpoints = gone.Endpoints.Without("shared")
	h.Apply(&gone)
	if n := len(h.Get("b").Hosts()); n != 0 {
		t.Errorf("%d hosts without endpoints", n)
	}
}

// TestUnchangedHostsStay holds an update to what changes: the other hosts are the same objects, and so are their localities.
func TestUnchangedHostsStay(t *testing.T) {
	const endpoints = 20
	m := newHarness(t)
	cfg := static("web")
	cfg.Type = model.ClusterEDS
	at := func(n int) *model.Endpoint {
		return &model.Endpoint{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(n)}), 80), Weight: 1}
	}
	first := &model.LoadAssignment{Localities: []*model.Locality{{Zone: "a"}}}
	for n := range endpoints {
		first.Localities[0].Endpoints = append(first.Localities[0].Endpoints, at(n+1))
	}
	m.Apply(snapshot(cfg))
	c := m.Get("web")
	c.setAssignment(first)
	before := c.Hosts()

	replaced, weighted := *first.Localities[0], *first.Localities[0]
	replaced.Endpoints = append([]*model.Endpoint{at(200)}, first.Localities[0].Endpoints[1:]...)
	c.setAssignment(&model.LoadAssignment{Localities: []*model.Locality{&replaced}})
	after := c.Hosts()
	for n, h := range after {
		if same := h == before[n]; same != (n > 0) {
			t.Errorf("host %d: the same is %v", n, same)
		}
	}
	turns := [2]*model.LoadAssignment{first, {Localities: []*model.Locality{&replaced}}}
	turn := 0
	if n := testing.AllocsPerRun(100, func() { turn++; c.setAssignment(turns[turn%2]) }); n > 24 {
		t.Errorf("%v allocations to replace one of %d endpoints", n, endpoints)
	} else {
		t.Logf("%v allocations", n)
	}

	weighted.Weight = 3
	c.setAssignment(&model.LoadAssignment{Localities: []*model.Locality{&weighted}})
	for n, h := range c.Hosts() {
		if h.Locality.Weight != 3 || h.Stats.Current.Load() != h {
			t.Errorf("host %d is not of the locality as it is now", n)
		}
	}
}
