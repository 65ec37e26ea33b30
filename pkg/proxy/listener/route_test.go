package listener

import (
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestRoute(t *testing.T) {
	b := newBed(t, nil)
	unbound := func(name, addr string, change func(*model.Listener)) *model.Listener {
		l := &model.Listener{Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), DefaultFilterChain: &model.FilterChain{Name: name}}
		if change != nil {
			change(l)
		}
		return l
	}
	b.mustApply(
		unbound("exact", "10.0.0.1:80", nil), unbound("any", "0.0.0.0:80", nil), unbound("six", "[::]:80", nil),
		unbound("compat", "[::]:81", func(l *model.Listener) { l.IPv4Compat = true }),
	)
	tests := []struct {
		dst, name string
		found     Found
	}{
		{"10.0.0.1:80", "exact", FoundExact},
		{"[::ffff:10.0.0.1]:80", "exact", FoundExact},
		{"10.0.0.2:80", "any", FoundAnyAddress},
		{"[fd00::1]:80", "six", FoundAnyAddress},
		{"10.0.0.2:81", "compat", FoundAnyAddress},
		{"10.0.0.2:82", "", FoundNone},
	}
	check := func(dst, name string, found Found) {
		t.Helper()
		r, ok := b.Route(netip.MustParseAddrPort(dst))
		if !ok {
			if name != "" {
				t.Errorf("%s: no listener", dst)
			}
			return
		}
		if r.Listener.Name != name || r.Found != found || r.Chains == nil {
			t.Errorf("%s: listener %s, found by %d", dst, r.Listener.Name, r.Found)
		}
	}
	for _, tt := range tests {
		check(tt.dst, tt.name, tt.found)
	}
	b.mustApply(unbound("exact", "10.0.0.1:80", nil), unbound("rest", "10.0.0.9:1", func(l *model.Listener) { l.UseOriginalDst = true }))
	check("10.0.0.1:80", "exact", FoundExact)
	check("10.0.0.2:82", "rest", FoundCatchAll)
}

func TestBound(t *testing.T) {
	b := newBed(t, nil)
	bind := func(name, addr string) *model.Listener {
		return &model.Listener{
			Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), BindToPort: true,
			DefaultFilterChain: &model.FilterChain{Name: name},
		}
	}
	b.mustApply(bind("one", "127.0.0.1:0"), bind("every", "0.0.0.0:0"))
	one, every := netip.MustParseAddrPort(b.address("one")), netip.MustParseAddrPort(b.address("every"))
	tests := []struct {
		dst  netip.AddrPort
		name string
	}{
		{one, "one"},
		{netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), one.Port()), "one"},
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), one.Port()), ""},
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), every.Port()), "every"},
		{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), every.Port()), ""}, // not this host's
		{netip.AddrPortFrom(netip.IPv6Loopback(), every.Port()), ""},
	}
	for _, tt := range tests {
		r, ok := b.Bound(tt.dst)
		if ok != (tt.name != "") || ok && r.Listener.Name != tt.name {
			t.Errorf("%s: got %+v, want %q", tt.dst, r.Listener, tt.name)
		}
	}
}

// Each direction has its listeners; those without a direction are for both.
func TestDirections(t *testing.T) {
	b := newBed(t, nil)
	unbound := func(name, addr string, direction model.TrafficDirection, catchAll bool) *model.Listener {
		return &model.Listener{
			Resource: model.Resource{Name: name}, Address: netip.MustParseAddrPort(addr), TrafficDirection: direction,
			UseOriginalDst: catchAll, DefaultFilterChain: &model.FilterChain{Name: name},
		}
	}
	b.mustApply(
		unbound("in", "0.0.0.0:80", model.TrafficInbound, false), unbound("all-in", "0.0.0.0:15006", model.TrafficInbound, true),
		unbound("out", "0.0.0.0:81", model.TrafficOutbound, false), unbound("all-out", "0.0.0.0:15001", model.TrafficOutbound, true),
		unbound("any", "0.0.0.0:82", model.TrafficUnspecified, false),
	)
	for _, tt := range []struct{ dst, leaving, arriving string }{
		{"10.0.0.1:80", "all-out", "in"},
		{"10.0.0.1:81", "out", "all-in"},
		{"10.0.0.1:82", "any", "any"},
		{"10.0.0.1:15006", "all-out", "all-in"},
		{"10.0.0.1:15001", "all-out", "all-in"},
		{"10.0.0.1:83", "all-out", "all-in"},
	} {
		if r, ok := b.Route(netip.MustParseAddrPort(tt.dst)); !ok || r.Listener.Name != tt.leaving {
			t.Errorf("to %s, leaving: %+v, want %s", tt.dst, r.Listener, tt.leaving)
		}
		if r, ok := b.Arrival(netip.MustParseAddrPort(tt.dst)); !ok || r.Listener.Name != tt.arriving {
			t.Errorf("to %s, arriving: %+v, want %s", tt.dst, r.Listener, tt.arriving)
		}
	}
	b.mustApply(unbound("in", "0.0.0.0:80", model.TrafficInbound, true))
	if r, ok := b.Route(netip.MustParseAddrPort("10.0.0.1:80")); ok {
		t.Errorf("listener %s takes what leaves", r.Listener.Name)
	}
}
