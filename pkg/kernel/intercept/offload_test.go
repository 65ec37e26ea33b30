package intercept

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
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
