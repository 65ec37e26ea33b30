package intercept

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/test/await"
)

// offloaded is a service of the given endpoints without a limit.
func offloaded(name string, how steer.Select, endpoints ...netip.AddrPort) *steer.Service {
	s := &steer.Service{Name: name, Cluster: name, Select: how, MaxConnections: math.MaxUint32}
	for _, e := range endpoints {
		s.Endpoints = append(s.Endpoints, steer.Endpoint{Addr: e, Cluster: name})
	}
	return s
}

// offloadPlan leads connections to the prefixes on port 80 to the service "shop".
func (b *bench) offloadPlan(prefixes ...string) *steer.Plan {
	plan := b.plan(80, prefixes...)
	for n := range plan.Rules {
		plan.Rules[n].Action, plan.Rules[n].Service = steer.Offload, "shop"
	}
	return plan
}

// greeter serves its name.
func greeter(t testing.TB, addr, name string) netip.AddrPort {
	return serve(t, addr, func(conn net.Conn) { fmt.Fprint(conn, name) })
}

func (i *Interceptor) applyServices(t testing.TB, services ...*steer.Service) {
	t.Helper()
	if err := i.ApplyServices(services, nil); err != nil {
		t.Fatal(err)
	}
}

func TestConnectIsOffloaded(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	four, six := greeter(t, "127.0.0.1:0", "four"), greeter(t, "[::1]:0", "six")
	b.apply(t, b.offloadPlan("192.0.2.80/32", "2001:db8::80/128"))
	tests := []struct {
		name      string
		req       request
		endpoints []netip.AddrPort
		peer      string
		greeting  string
	}{
		{"IPv4", request{Addr: nowhere4}, []netip.AddrPort{four}, nowhere4, "four"},
		{"IPv6", request{Addr: nowhere6}, []netip.AddrPort{six}, nowhere6, "six"},
		{"IPv4 on an IPv6 socket", request{Addr: nowhere4, Mapped: true}, []netip.AddrPort{four}, "[::ffff:192.0.2.80]:80", "four"},
		{"IPv4 non-blocking", request{Addr: nowhere4, NonBlocking: true}, []netip.AddrPort{four}, nowhere4, "four"},
		{"IPv6 fast open", request{Addr: nowhere6, FastOpen: true}, []netip.AddrPort{six}, nowhere6, "six"},
		{"IPv6 to an IPv4 endpoint", request{Addr: nowhere6}, []netip.AddrPort{four}, nowhere6, "four"},
		{"mapped to an IPv6 endpoint", request{Addr: nowhere4, Mapped: true}, []netip.AddrPort{six}, "[::ffff:192.0.2.80]:80", "six"},
		{"IPv4 to an IPv6 endpoint", request{Addr: nowhere4}, []netip.AddrPort{six}, nowhere4, "captured"},
		{"bound source", request{Addr: nowhere4, Source: "127.0.0.7:0"}, []netip.AddrPort{four}, nowhere4, "four"},
		{"bound source of the other family", request{Addr: nowhere6, Source: "[::1]:0"}, []netip.AddrPort{four}, nowhere6, "captured"},
		{"IPv4 to either", request{Addr: nowhere4}, []netip.AddrPort{six, four, six}, nowhere4, "four"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.applyServices(t, offloaded("shop", steer.RoundRobin, test.endpoints...))
			ans := client(t, b.dir, test.req)
			if ans.Err != "" || ans.Greeting != test.greeting {
				t.Fatalf("client: %+v, want it to reach %s", ans, test.greeting)
			}
			if ans.Peer != test.peer {
				t.Errorf("getpeername %s, want the address it asked for, %s", ans.Peer, test.peer)
			}
		})
	}
}

// crowd serves its name to any number of clients at a time, and keeps their connections for as long as they do.
func crowd(t testing.TB, addr, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				fmt.Fprint(conn, name)
				io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return addrOf(l.Addr())
}

// serviceStats reads the counters of "shop".
func (i *Interceptor) serviceStats(t testing.TB) ServiceStats {
	t.Helper()
	stats, found := i.ServiceStats("shop")
	if !found {
		t.Fatal("the service is not known")
	}
	return stats
}

// idle waits until the service has no connections: those that were closed go on without their application for a moment.
func (i *Interceptor) idle(t *testing.T) ServiceStats {
	t.Helper()
	await.True(t, "the service has no connections", func() bool { return i.serviceStats(t).Active == 0 })
	stats := i.serviceStats(t)
	for _, e := range stats.Endpoints {
		if e.Active != 0 {
			t.Errorf("endpoint %s has %d connections, the service none", e.Addr, e.Active)
		}
	}
	return stats
}

func TestSelection(t *testing.T) {
	b := newBench(t)
	a, c, d := crowd(t, "127.0.0.1:0", "a"), crowd(t, "127.0.0.1:0", "c"), crowd(t, "127.0.0.1:0", "d")
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	const times = 600
	tests := []struct {
		name    string
		how     steer.Select
		threads int // one leaves no endpoint busy at the time of a choice
		table   []uint32
		check   func(t *testing.T, got map[string]int)
	}{
		{"round robin", steer.RoundRobin, 4, nil, func(t *testing.T, got map[string]int) {
			if got["a"] != 200 || got["c"] != 200 || got["d"] != 200 {
				t.Errorf("%v, want 200 each", got)
			}
		}},
		{"round robin by table", steer.RoundRobin, 4, []uint32{0, 1, 0, 2, 0, 1}, func(t *testing.T, got map[string]int) {
			if got["a"] != 300 || got["c"] != 200 || got["d"] != 100 {
				t.Errorf("%v, want 300, 200 and 100", got)
			}
		}},
		{"random", steer.Random, 4, nil, func(t *testing.T, got map[string]int) {
			near(t, got, map[string]int{"a": 200, "c": 200, "d": 200})
		}},
		{"random by table", steer.Random, 4, []uint32{0, 0, 0, 1, 1, 2}, func(t *testing.T, got map[string]int) {
			near(t, got, map[string]int{"a": 300, "c": 200, "d": 100})
		}},
		{"least connections, none busy", steer.LeastConnections, 1, nil, func(t *testing.T, got map[string]int) {
			near(t, got, map[string]int{"a": 200, "c": 200, "d": 200})
		}},
		{"maglev", steer.Maglev, 4, []uint32{1, 2, 0, 1, 2, 0, 1}, func(t *testing.T, got map[string]int) {
			if len(got) != 1 {
				t.Errorf("%v, want the same endpoint for one client address", got)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := offloaded("shop", test.how, a, c, d)
			s.Table = test.table
			b.applyServices(t, s)
			got := clients(t, b.dir, burst{Addr: nowhere4, Times: times, Threads: test.threads})
			if len(got.Errnos) > 0 {
				t.Fatalf("errors %v", got.Errnos)
			}
			test.check(t, got.Greetings)
			b.idle(t)
		})
	}
}

// near allows for six standard deviations of 600 draws: one run in a billion fails by chance.
func near(t *testing.T, got, want map[string]int) {
	t.Helper()
	for name, n := range want {
		if d := got[name] - n; d < -75 || d > 75 {
			t.Errorf("%s was chosen %d times, want about %d", name, got[name], n)
		}
	}
}

func TestLeastConnectionsSparesTheBusy(t *testing.T) {
	b := newBench(t)
	busy, free := crowd(t, "127.0.0.1:0", "busy"), crowd(t, "127.0.0.1:0", "free")
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	b.applyServices(t, offloaded("shop", steer.LeastConnections, busy))
	startClients(t, b.dir, burst{Addr: nowhere4, Times: 50, Hold: true})
	b.applyServices(t, offloaded("shop", steer.LeastConnections, busy, free))
	got := clients(t, b.dir, burst{Addr: nowhere4, Times: 400, Threads: 2})
	// The busy one is taken when both draws are for it: a quarter of the times.
	if n := got.Greetings["busy"]; n < 50 || n > 150 {
		t.Errorf("%v, want the busy endpoint in about 100 of 400", got.Greetings)
	}
}

func TestNoEndpoint(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	b.apply(t, b.offloadPlan("192.0.2.80/32"))
	check := func(when, greeting string, errno unix.Errno) {
		t.Helper()
		if ans := client(t, b.dir, request{Addr: nowhere4}); ans.Greeting != greeting || ans.Errno != int(errno) {
			t.Errorf("%s: %+v, want %q, errno %d", when, ans, greeting, errno)
		}
	}
	check("before the service is known", "captured", 0)
	b.applyServices(t, offloaded("shop", steer.RoundRobin))
	check("without endpoints", "", unix.ECONNREFUSED)
	stats := b.serviceStats(t)
	if stats.NoEndpoint != 1 || stats.Total != 0 || stats.Active != 0 {
		t.Errorf("counters %+v, want one refusal", stats)
	}
	if got := b.count(t, ReasonNoEndpoint); got != 1 {
		t.Errorf("counter no_endpoint is %d, want 1", got)
	}
	b.applyServices(t, offloaded("shop", steer.RoundRobin, unused(t)))
	check("with one that refuses", "", unix.ECONNREFUSED)
	if stats := b.idle(t); stats.Total != 1 || stats.Endpoints[0].ConnectFail != 1 {
		t.Errorf("counters %+v, want one failed connection", stats)
	}
	if err := b.ApplyServices(nil, []string{"shop"}); err != nil {
		t.Fatal(err)
	}
	check("when it is gone", "captured", 0)
}
