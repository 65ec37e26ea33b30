package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/test/await"
)

// TestAsleepIsNoDifference gives two clusters the same endpoints time and again. Of one the hosts are always asked for. The other
// sleeps, and statistics must not tell them apart.
func TestAsleepIsNoDifference(t *testing.T) {
	names := []string{
		"membership_change", "default.total_match_count", "membership_total", "membership_healthy", "membership_degraded",
		"membership_excluded", "max_host_weight",
	}
	random := rand.New(rand.NewPCG(1, 2))
	woken := 0
	for round := range 20 {
		h := newHarness(t, func(o *Options) { o.Log = log.Discard() })
		a := &model.LoadAssignment{}
		for step := range 30 {
			a = altered(random, a, round)
			s := snapshot(eds("asleep"), eds("awake"))
			if step > 0 && step%7 > 0 {
				s.Clusters = h.applied.Clusters
			}
			s.Endpoints = s.Endpoints.With("asleep", a).With("awake", a)
			h.Apply(s)
			h.Get("awake").Hosts()
			want, got := map[string]uint64{}, map[string]uint64{}
			for _, name := range names {
				read := h.counter
				if name[:3] != "def" && name != "membership_change" {
					read = h.gauge
				}
				want[name], got[name] = read("cluster.awake."+name), read("cluster.asleep."+name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("round %d, step %d (-awake +asleep):\n%s", round, step, diff)
			}
		}
		if diff := cmp.Diff(listed(h.Get("awake")), listed(h.Get("asleep"))); diff != "" {
			t.Fatalf("round %d: hosts as listed (-awake +asleep):\n%s", round, diff)
		}
		if h.Get("asleep").set.Load() != nil {
			woken++
		}
		var want, got []netip.AddrPort
		for _, host := range h.Get("awake").Hosts() {
			want = append(want, host.Address)
		}
		for _, host := range h.Get("asleep").Hosts() {
			got = append(got, host.Address)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Fatalf("round %d: hosts (-awake +asleep):\n%s", round, diff)
		}
	}
	if woken == 0 || woken == 20 {
		t.Errorf("%d of 20 clusters woke by themselves, which is to be some", woken)
	}
}

// listed are the hosts of a cluster as pages show them.
func listed(c *Cluster) (lines []string) {
	for _, h := range c.HostsListed() {
		l := h.Locality
		lines = append(lines, fmt.Sprint(h.Address, h.Pipe, h.Hostname, h.Endpoint, h.Weight, h.Priority, h.Health, h.Flags, h.Outlier.Ejected(),
			l.Region, l.Zone, l.SubZone, l.Priority, l.Weight, h.Stats.CxTotal.Load()))
	}
	return lines
}

// altered is an assignment in which endpoints came, went, moved and changed. In some rounds some have one address.
func altered(random *rand.Rand, a *model.LoadAssignment, round int) *model.LoadAssignment {
	next := &model.LoadAssignment{OverprovisioningFactor: 140, Localities: []*model.Locality{{Zone: "a"}, {Zone: "b"}}}
	used := map[netip.AddrPort]bool{}
	add := func(to int, e *model.Endpoint) {
		if used[e.Address] && round%4 > 0 {
			return
		}
		used[e.Address] = true
		next.Localities[to].Endpoints = append(next.Localities[to].Endpoints, e)
	}
	for i, l := range a.Localities {
		for _, e := range l.Endpoints {
			switch random.IntN(12) {
			case 0: // goes
			case 1:
				add(1-i, e)
			case 2:
				again := *e
				again.Health = model.HealthStatus(random.IntN(6))
				add(i, &again)
			default:
				add(i, e)
			}
		}
	}
	for range random.IntN(4) {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(random.IntN(60))}), 80)
		add(random.IntN(2), &model.Endpoint{Address: at, Weight: 1 + random.Uint32N(3)})
	}
	return next
}

func TestAsleepUntilAskedForHosts(t *testing.T) {
	b := plainBackend(t, nil)
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	many := make([]netip.AddrPort, asleepMost+1)
	for i := range many {
		many[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 80)
	}
	checked := func(c *model.Cluster) {
		c.HealthChecks = []*model.HealthCheck{{Interval: time.Hour, Timeout: time.Second, UnhealthyThreshold: 1, HealthyThreshold: 1}}
	}
	for name, tc := range map[string]struct {
		change func(*model.Cluster)
		addrs  []netip.AddrPort
		asleep bool
	}{
		"plain":             {addrs: []netip.AddrPort{b.addr}, asleep: true},
		"no endpoints":      {asleep: true},
		"one address twice": {addrs: []netip.AddrPort{b.addr, nobody, b.addr}},
		"many endpoints":    {addrs: many},
		"health checks":     {addrs: []netip.AddrPort{b.addr}, change: checked},
		"ring hash":         {addrs: []netip.AddrPort{b.addr}, change: func(c *model.Cluster) { c.LB = model.LBRingHash }},
		"outlier detection": {addrs: []netip.AddrPort{b.addr}, change: func(c *model.Cluster) { c.OutlierDetection = &model.OutlierDetection{Interval: time.Hour} }},
		"transport sockets": {addrs: []netip.AddrPort{b.addr}, change: func(c *model.Cluster) { c.TransportSocketMatches = []model.TransportSocketMatch{{Name: "x"}} }},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			cfg := eds("web")
			if tc.change != nil {
				tc.change(cfg)
			}
			s := snapshot(cfg)
			s.Endpoints = s.Endpoints.With("web", endpoints(tc.addrs...))
			h.Apply(s)
			if asleep := h.Get("web").set.Load() == nil; asleep != tc.asleep {
				t.Errorf("it sleeps: %v", asleep)
			}
			if tc.asleep && len(tc.addrs) == 1 {
				if got := h.mustGet("web"); got != b.addr.String() {
					t.Errorf("answer from %q", got)
				}
			}
			if n := len(h.Get("web").Hosts()); tc.addrs == nil && n != 0 || tc.addrs != nil && n == 0 {
				t.Errorf("%d hosts", n)
			}
		})
	}
}

// Who asks for the hosts that are awake, as load reports do of all clusters, or lists hosts wakes nobody.
func TestHostsAwake(t *testing.T) {
	h, b := newHarness(t), plainBackend(t, nil)
	s := snapshot(eds("web"))
	s.Endpoints = s.Endpoints.With("web", endpoints(b.addr))
	h.Apply(s)
	web := h.Get("web")
	if n := len(web.HostsAwake()); n != 0 || web.set.Load() != nil {
		t.Errorf("%d hosts of a cluster that sleeps, or it is awake now", n)
	}
	if n := len(web.HostsListed()); n != 1 || web.set.Load() != nil {
		t.Errorf("%d hosts listed of a cluster that sleeps, or it is awake now", n)
	}
	if n := len(web.Hosts()); n != 1 {
		t.Fatalf("%d hosts", n)
	}
	if n := len(web.HostsAwake()); n != 1 {
		t.Errorf("%d hosts of a cluster that is awake", n)
	}
}

// TestAsleepChanges has a cluster that sleeps go over to one that must not, and be removed while somebody holds it.
func TestAsleepChanges(t *testing.T) {
	b := plainBackend(t, nil)
	h := newHarness(t)
	apply := func(clusters ...*model.Cluster) {
		s := snapshot(clusters...)
		s.Endpoints = s.Endpoints.With("web", endpoints(b.addr))
		h.Apply(s)
	}
	apply(eds("web"))
	first := h.Get("web")
	hashed := eds("web")
	hashed.LB = model.LBRingHash
	apply(hashed)
	h.want("counter", h.counter, map[string]uint64{"cluster.web.membership_change": 1, "cluster.web.default.total_match_count": 1})
	apply(eds("web"))
	also := eds("other")
	also.EDSServiceName = "web"
	apply(eds("web"), also)
	h.want("counter", h.counter, map[string]uint64{"cluster.web.membership_change": 1, "cluster.web.default.total_match_count": 1})

	other := h.Get("other")
	apply()
	for _, c := range []*Cluster{first, other} {
		if body, err := h.get(c); err != nil || body != b.addr.String() {
			t.Errorf("a cluster that was removed answers %q, %v", body, err)
		}
	}
	await.True(t, "connections of removed clusters to close", func() bool { return b.open.Load() == 0 })
	if got := fmt.Sprint(h.All().Names()); got != "[]" {
		t.Errorf("clusters %s", got)
	}
}
