package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// TestArenaIsGivenBack has services come and go, and nothing be left of them.
func TestArenaIsGivenBack(t *testing.T) {
	i, _, _ := newDecider(t)
	room := func() (free uint32) {
		for _, e := range i.services.free {
			free += e.n
		}
		return free
	}
	i.applyServices(t, offloaded("first", steer.RoundRobin))
	if err := i.ApplyServices(nil, []string{"first"}); err != nil {
		t.Fatal(err)
	}
	if err := i.services.settle(); err != nil {
		t.Fatal(err)
	}
	before := room()
	for n := range 200 {
		s := offloaded(fmt.Sprint("s", n%7), steer.RoundRobin)
		for k := range n % 40 {
			s.Endpoints = append(s.Endpoints, steer.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n), byte(k)}), 80)})
		}
		i.applyServices(t, s)
		if n%3 == 0 {
			if err := i.ApplyServices(nil, []string{s.Name}); err != nil {
				t.Fatal(err)
			}
		}
		if n%20 == 0 {
			if err := i.services.settle(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range 7 {
		if err := i.ApplyServices(nil, []string{fmt.Sprint("s", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.services.settle(); err != nil {
		t.Fatal(err)
	}
	if after := room(); after != before || len(i.services.free) != 1 || len(i.services.byBlock) != 0 {
		t.Errorf("%d blocks are free in %d extents, %d were before; %d services are left", after, len(i.services.free), before, len(i.services.byBlock))
	}
}

func TestArenaFull(t *testing.T) {
	i, _, _ := newDecider(t)
	i.services.capacity = 1
	plan := &steer.Plan{Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.80/32"), Port: 80, Action: steer.Offload, Service: "shop",
	}}}
	i.mustApply(t, plan)
	i.applyServices(t, offloaded("shop", steer.RoundRobin, netip.MustParseAddrPort("198.51.100.1:1")))
	large := offloaded("shop", steer.RoundRobin)
	for n := range 5000 {
		large.Endpoints = append(large.Endpoints, steer.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 80)})
	}
	var full *FullError
	small := offloaded("small", steer.RoundRobin, netip.MustParseAddrPort("198.51.100.2:1"))
	if err := i.ApplyServices([]*steer.Service{large, small}, nil); !errors.As(err, &full) || full.Map != "weir_arena" {
		t.Fatalf("error %v, want one that names weir_arena", err)
	}
	x, err := i.Explain(Query{Dst: netip.MustParseAddrPort(nowhere4)})
	if err != nil || x.Target.String() != "198.51.100.1:1" {
		t.Errorf("target %s (%v), want that of before", x.Target, err)
	}
	if err := i.ApplyServices([]*steer.Service{small}, nil); err != nil {
		t.Errorf("a small service after a large one: %v", err)
	}
}

func TestServiceIsRefused(t *testing.T) {
	i, _, _ := newDecider(t)
	bad := map[string]*steer.Service{
		"slot 1: there is no endpoint 7": {
			Name: "x", Endpoints: []steer.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:1")}}, Table: []uint32{0, 7},
		},
		"endpoint 0: invalid AddrPort is not an address":      {Name: "x", Endpoints: []steer.Endpoint{{}}},
		"endpoint 0: 10.0.0.1:0 is not an address and a port": {Name: "x", Endpoints: []steer.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:0")}}},
	}
	for want, s := range bad {
		if err := i.ApplyServices([]*steer.Service{s}, nil); err == nil || !strings.Contains(err.Error(), "apply service x: "+want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestArenaIsBounded changes a large service over and over while nobody settles what has left.
func TestArenaIsBounded(t *testing.T) {
	i, _, _ := newDecider(t)
	_, large := mesh(1, 1000)
	for range 3000 {
		i.applyServices(t, large[0])
	}
	if n := len(i.services.chunks); n > 19 {
		t.Errorf("the arena has %d chunks, want no more than 16 for what is in limbo, and a few", n)
	}
}
