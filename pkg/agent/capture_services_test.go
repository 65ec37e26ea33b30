package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// fakeKernel holds what it is told, and fails the test when it is told to break before make.
type fakeKernel struct {
	t        testing.TB
	mu       sync.Mutex
	services map[string]*steer.Service
	plan     *steer.Plan
	stats    map[string]intercept.ServiceStats
	// full refuses services; applied counts those that were taken.
	full    bool
	applied int
	// room is how many rules there is room for, old and new at a time unless memory is short, 0 for any number; asked counts plans.
	room, asked int
	// short has memory be short instead.
	short bool
}

func (k *fakeKernel) Apply(plan *steer.Plan) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range plan.Rules {
		if r.Service != "" && k.services[r.Service] == nil {
			k.t.Errorf("a rule for %s port %d refers to service %s, which is not there", r.Prefix, r.Port, r.Service)
		}
	}
	k.asked++
	wanted := len(plan.Rules)
	if both := steer.Diff(k.plan, plan); len(both.Added) > 0 && !k.short {
		wanted += len(both.Removed)
	}
	if k.room > 0 && wanted > k.room {
		lack := syscall.ENOSPC
		if k.short {
			lack = syscall.ENOMEM
		}
		return fmt.Errorf("apply: %w", &intercept.RulesError{Err: &intercept.FullError{Map: "weir_capture", Capacity: uint32(k.room), Err: lack}})
	}
	k.plan = plan
	return nil
}

func (k *fakeKernel) Update(before, plan *steer.Plan, change steer.Change) error {
	if d := cmp.Diff(steer.Diff(before, plan), change, cmp.Comparer(func(a, b steer.Rule) bool { return a == b })); d != "" {
		k.t.Errorf("change (-between plans +told):\n%s", d)
	}
	return k.Apply(plan)
}

func (k *fakeKernel) ApplyServices(now []*steer.Service, gone []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.full && len(now) > 0 {
		return errors.New("no room")
	}
	for _, s := range now {
		k.services[s.Name] = s
		k.applied++
	}
	for _, name := range gone {
		delete(k.services, name)
		if k.plan != nil && slices.ContainsFunc(k.plan.Rules, func(r steer.Rule) bool { return r.Service == name }) {
			k.t.Errorf("service %s is forgotten, and a rule refers to it", name)
		}
	}
	return nil
}

func (k *fakeKernel) ServiceStats(name string) (intercept.ServiceStats, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.stats[name]
	return s, ok
}

func (k *fakeKernel) ServiceTotals(name string) (intercept.ServiceStats, bool) {
	return k.ServiceStats(name)
}

func (k *fakeKernel) timesAsked() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

// text is what the kernel does, line by line.
func (k *fakeKernel) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var b strings.Builder
	if k.plan != nil {
		for _, r := range k.plan.Rules {
			fmt.Fprintf(&b, "%s:%d %s %s%s\n", r.Prefix.Addr(), r.Port, r.Action, r.Service, r.Kept)
		}
	}
	names := make([]string, 0, len(k.services))
	for name := range k.services {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s := k.services[name]
		fmt.Fprintf(&b, "%s: %s", name, s.Select)
		for _, e := range s.Endpoints {
			fmt.Fprintf(&b, " %s", e.Addr)
		}
		fmt.Fprintf(&b, " %v\n", s.Table)
	}
	return b.String()
}

// steering is services with clusters and a kernel.
type steering struct {
	*services
	kernel   *fakeKernel
	clusters *cluster.Manager
	store    *stats.Store
	snap     *model.Snapshot
}

func newSteering(t testing.TB) *steering {
	t.Helper()
	s := &steering{kernel: &fakeKernel{t: t, services: map[string]*steer.Service{}, stats: map[string]intercept.ServiceStats{}}, store: stats.NewStore(), snap: &model.Snapshot{}}
	wheel := timer.New()
	t.Cleanup(wheel.Close)
	s.services = newServices(log.ForTest(t), s.store.Root(), nil, func() *cluster.Manager { return s.clusters })
	s.clusters = cluster.New(cluster.Options{Stats: s.store.Root(), Wheel: wheel, Poller: conntest.Poller(t), Changed: s.changed})
	t.Cleanup(s.clusters.Close)
	s.services.start(s.kernel)
	t.Cleanup(s.services.close)
	return s
}

// publish goes through what the agent does with a snapshot.
func (s *steering) publish(change func(*model.Snapshot)) {
	next := *s.snap
	change(&next)
	s.snap = &next
	s.clusters.Apply(&next)
	s.snapshot(&next)
	s.settle()
}

func assigned(addrs ...string) *model.LoadAssignment {
	l := &model.Locality{}
	for _, a := range addrs {
		l.Endpoints = append(l.Endpoints, &model.Endpoint{Address: netip.MustParseAddrPort(a), Weight: 1})
	}
	return &model.LoadAssignment{Localities: []*model.Locality{l}, OverprovisioningFactor: 140}
}

func edsCluster(name string) *model.Cluster {
	return &model.Cluster{Resource: model.Resource{Name: name}, Type: model.ClusterEDS, PanicThreshold: 50, ConnectTimeout: time.Second}
}

func tcpListener(name, addr, cluster string) *model.Listener {
	proxy := &model.TCPProxy{StatPrefix: "tcp", MaxConnectAttempts: 1, Clusters: []model.WeightedCluster{{Name: cluster, Weight: 1}}}
	return &model.Listener{
		Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr),
		FilterChains: []*model.FilterChain{{Filters: []*model.NetworkFilter{{Name: "tcp", Config: proxy}}}},
	}
}

func TestServicesFollow(t *testing.T) {
	s := newSteering(t)
	step := func(what string, change func(*model.Snapshot), want string) {
		t.Helper()
		s.publish(change)
		if d := cmp.Diff(strings.TrimLeft(want, "\n"), s.kernel.text()); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	step("a listener whose cluster is not there", func(n *model.Snapshot) {
		n.Listeners = n.Listeners.With("shop", tcpListener("shop", "10.99.0.1:80", "web"))
	}, "10.99.0.1:80 redirect cluster web is not there\n")
	step("its cluster", func(n *model.Snapshot) {
		n.Clusters = n.Clusters.With("web", edsCluster("web"))
		n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.1:1", "10.0.0.2:1"))
	}, `
10.99.0.1:80 offload shop
shop: round_robin 10.0.0.1:1 10.0.0.2:1 []
`)
	step("another endpoint", func(n *model.Snapshot) { n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.2:1", "10.0.0.3:1")) }, `
10.99.0.1:80 offload shop
shop: round_robin 10.0.0.2:1 10.0.0.3:1 []
`)
	step("an endpoint that the kernel cannot reach", func(n *model.Snapshot) {
		a := assigned("10.0.0.2:1")
		a.Localities[0].Endpoints = append(a.Localities[0].Endpoints, &model.Endpoint{Pipe: "/run/x", Weight: 1})
		n.Endpoints = n.Endpoints.With("web", a)
	}, "10.99.0.1:80 redirect cluster web: endpoint /run/x is a unix socket\n")
	step("weights", func(n *model.Snapshot) {
		a := assigned("10.0.0.2:1", "10.0.0.3:1")
		a.Localities[0].Endpoints[0].Weight = 2
		n.Endpoints = n.Endpoints.With("web", a)
	}, `
10.99.0.1:80 offload shop
shop: round_robin 10.0.0.2:1 10.0.0.3:1 [0 1 0]
`)
	step("the cluster goes", func(n *model.Snapshot) { n.Clusters = n.Clusters.Without("web") }, "10.99.0.1:80 redirect cluster web is not there\n")
	step("the listener goes", func(n *model.Snapshot) { n.Listeners = n.Listeners.Without("shop") }, "")
}

// TestServicesFollowWithoutSnapshot has a health check's finding or DNS reach the kernel by itself.
func TestServicesFollowWithoutSnapshot(t *testing.T) {
	s := newSteering(t)
	s.publish(func(n *model.Snapshot) {
		n.Listeners = n.Listeners.With("shop", tcpListener("shop", "10.99.0.1:80", "web"))
		n.Clusters = n.Clusters.With("web", edsCluster("web"))
		n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.1:1"))
	})
	next := *s.snap
	next.Endpoints = next.Endpoints.With("web", assigned("10.0.0.9:1"))
	s.clusters.Apply(&next)
	deadline := time.After(10 * time.Second)
	for !strings.Contains(s.kernel.text(), "10.0.0.9:1") {
		select {
		case <-deadline:
			t.Fatalf("the kernel does not hear of it:\n%s", s.kernel.text())
		case <-time.After(time.Millisecond):
		}
	}
}

// TestServicesWithoutRoom leaves to user space what the kernel does not take.
func TestServicesWithoutRoom(t *testing.T) {
	s := newSteering(t)
	s.kernel.full = true
	s.publish(func(n *model.Snapshot) {
		n.Listeners = n.Listeners.With("shop", tcpListener("shop", "10.99.0.1:80", "web"))
		n.Clusters = n.Clusters.With("web", edsCluster("web"))
		n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.1:1"))
	})
	if d := cmp.Diff("10.99.0.1:80 redirect the kernel did not take the service: no room\n", s.kernel.text()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	s.kernel.full = false
	s.publish(func(n *model.Snapshot) { n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.2:1")) })
	if d := cmp.Diff("10.99.0.1:80 offload shop\nshop: round_robin 10.0.0.2:1 []\n", s.kernel.text()); d != "" {
		t.Errorf("with room again (-want +got):\n%s", d)
	}
}

// TestServicesHopeless asks the kernel once about rules that it has no room for, until others come that may fit. What was short was
// memory: it is asked again.
func TestServicesHopeless(t *testing.T) {
	for _, short := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory short %t", short), func(t *testing.T) {
			s := newSteering(t)
			s.kernel.room, s.kernel.short = 1, short
			step := func(what string, asked int, refused bool, change func(*model.Snapshot)) {
				t.Helper()
				before := s.kernel.timesAsked()
				s.publish(change)
				got := s.kernel.timesAsked() - before
				if short && got == 0 || !short && got != asked {
					t.Errorf("%s: asked %d times, want %d, or more while memory is short", what, got, asked)
				}
				if err := s.problem(); (err != nil) != refused {
					t.Errorf("%s: problem %v, want one: %t", what, err, refused)
				}
			}
			one := func(name, addr string) func(*model.Snapshot) {
				return func(n *model.Snapshot) { n.Listeners = n.Listeners.With(name, tcpListener(name, addr, "web")) }
			}
			step("the first", 1, false, one("shop", "10.99.0.1:80"))
			step("too many", 1, true, one("store", "10.99.0.2:80"))
			step("a cluster", 0, true, func(n *model.Snapshot) {
				n.Clusters = n.Clusters.With("web", edsCluster("web"))
				n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.1:1"))
			})
			step("another endpoint", 0, true, func(n *model.Snapshot) { n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.2:1")) })
			step("even more", 0, true, one("stall", "10.99.0.3:80"))
			step("fewer, and still too many", 0, true, func(n *model.Snapshot) { n.Listeners = n.Listeners.Without("shop") })
			// Asked for one in place of the other, then for less, then again.
			step("few enough", 3, false, func(n *model.Snapshot) { n.Listeners = n.Listeners.Without("stall") })
			if d := cmp.Diff("10.99.0.2:80 offload store\nstore: round_robin 10.0.0.2:1 []\n", s.kernel.text()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestServicesCount adds the kernel's counters to those of user space, also when they begin anew.
func TestServicesCount(t *testing.T) {
	s := newSteering(t)
	s.publish(func(n *model.Snapshot) {
		n.Listeners = n.Listeners.With("shop", tcpListener("shop", "10.99.0.1:80", "web"))
		n.Clusters = n.Clusters.With("web", edsCluster("web"))
		n.Endpoints = n.Endpoints.With("web", assigned("10.0.0.1:1"))
	})
	web := s.clusters.Get("web")
	web.Stats().CxTotal.Add(100)
	at := steer.Endpoint{Addr: netip.MustParseAddrPort("10.0.0.1:1"), Cluster: "web"}
	counted := func(active, total, fail, rx, tx, nobody, overflow uint64) {
		s.kernel.mu.Lock()
		s.kernel.stats["shop"] = intercept.ServiceStats{
			Active: active, Total: total, NoEndpoint: nobody, Overflow: overflow,
			Endpoints: []intercept.EndpointStats{{Endpoint: at, Active: active, Total: total, ConnectFail: fail, RxBytes: rx, TxBytes: tx}},
		}
		s.kernel.mu.Unlock()
		s.collect(everything)
	}
	counted(2, 5, 1, 1000, 100, 3, 4)
	counted(1, 7, 1, 1500, 150, 3, 4)
	if n := web.Stats().LBHealthyPanic.Value(); n != 0 {
		t.Errorf("%d connections in panic, want none", n)
	}
	sick := assigned("10.0.0.1:1")
	sick.Localities[0].Endpoints[0].Health = model.HealthUnhealthy
	s.publish(func(n *model.Snapshot) { n.Endpoints = n.Endpoints.With("web", sick) })
	counted(1, 9, 1, 1500, 150, 3, 4)
	host := web.Hosts()[0].Stats
	for name, pair := range map[string][2]uint64{
		"cx_total": {web.Stats().CxTotal.Value(), 109}, "cx_active": {web.Stats().CxActive.Value(), 1}, "cx_connect_fail": {web.Stats().CxConnectFail.Value(), 1},
		"rx": {web.Stats().CxRxBytes.Value(), 1500}, "tx": {web.Stats().CxTxBytes.Value(), 150}, "none healthy": {web.Stats().CxNoneHealthy.Value(), 3},
		"overflow": {web.Stats().CxOverflow.Value(), 4}, "destroyed": {web.Stats().CxDestroy.Value(), 8},
		"host total": {host.CxTotal.Load(), 9}, "host active": {uint64(host.CxActive.Load()), 1}, "host failed": {host.CxConnectFail.Load(), 1},
		"listener total":  {s.store.Root().Counter("listener.10.99.0.1_80.downstream_cx_total").Value(), 16},
		"panics":          {web.Stats().LBHealthyPanic.Value(), 2},
		"listener active": {s.store.Root().Gauge("listener.10.99.0.1_80.downstream_cx_active").Value(), 1},
		"tcp rx":          {s.store.Root().Counter("tcp.tcp.downstream_cx_rx_bytes_total").Value(), 150},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %d, want %d", name, pair[0], pair[1])
		}
	}
	s.publish(func(n *model.Snapshot) { n.Listeners = n.Listeners.Without("shop") })
	if active := web.Stats().CxActive.Value(); active != 0 {
		t.Errorf("without the service %d connections are active", active)
	}
}

// TestIdleServicesAreNotRead has one case for each counter that moves.
func TestIdleServicesAreNotRead(t *testing.T) {
	for name, now := range map[string]intercept.ServiceStats{
		"": {}, "begun": {Total: 1}, "nobody": {NoEndpoint: 1}, "overflow": {Overflow: 1}, "denied": {Denied: 1}, "limited": {Limited: 1}, "open": {Active: 1},
	} {
		if got := idle(&intercept.ServiceStats{}, &now); got != (name == "") {
			t.Errorf("%s: idle is %t", name, got)
		}
	}
	if open := (intercept.ServiceStats{Active: 1}); idle(&open, &open) {
		t.Error("an open connection, which counts bytes, is idle")
	}
}

// TestOneChangeTellsOneService counts what an update of one cluster among many has the kernel told.
func TestOneChangeTellsOneService(t *testing.T) {
	s := newSteering(t)
	s.publish(func(n *model.Snapshot) {
		for i := range 200 {
			name := fmt.Sprint("c", i)
			n.Clusters, n.Endpoints = n.Clusters.With(name, edsCluster(name)), n.Endpoints.With(name, assigned("10.0.0.1:1"))
			n.Listeners = n.Listeners.With(name, tcpListener(name, fmt.Sprintf("10.99.0.%d:80", i), name))
		}
	})
	before := s.kernel.applied
	s.publish(func(n *model.Snapshot) { n.Endpoints = n.Endpoints.With("c42", assigned("10.0.0.2:1")) })
	if told := s.kernel.applied - before; told != 1 {
		t.Errorf("%d services were told, want 1", told)
	}
}

// BenchmarkOneEndpointOf100000 changes an endpoint of one of 5,000 clusters, from the snapshot to what the kernel is told.
func BenchmarkOneEndpointOf100000(b *testing.B) {
	for _, clusters := range []int{50, 5000} {
		b.Run(fmt.Sprint(clusters), func(b *testing.B) {
			s := newSteering(b)
			s.publish(func(n *model.Snapshot) {
				for i := range clusters {
					name := fmt.Sprint("c", i)
					var addrs []string
					for e := range 20 {
						addrs = append(addrs, fmt.Sprintf("10.%d.%d.%d:1", i/250, i%250, e+1))
					}
					n.Clusters = n.Clusters.With(name, edsCluster(name))
					n.Endpoints = n.Endpoints.With(name, assigned(addrs...))
					n.Listeners = n.Listeners.With(name, tcpListener(name, fmt.Sprintf("10.99.%d.%d:80", i/250, i%250), name))
				}
			})
			before := s.kernel.applied
			b.ResetTimer()
			for n := 0; b.Loop(); n++ {
				s.publish(func(next *model.Snapshot) {
					var addrs []string
					for e := range 20 {
						addrs = append(addrs, fmt.Sprintf("10.0.42.%d:%d", e+1, 1+n%2))
					}
					next.Endpoints = next.Endpoints.With("c42", assigned(addrs...))
				})
			}
			if n := s.kernel.applied - before; n > b.N+1 {
				b.Errorf("%d services were told for %d changes", n, b.N)
			}
		})
	}
}
