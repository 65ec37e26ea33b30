package listener

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/await"
)

// inboundAndOutbound are two listeners with sockets and two that get connections by hand-off only.
func inboundAndOutbound() (in, out, virtualIn, virtualOut *model.Listener) {
	in = bound("in", "127.0.0.1:0", plainChain("in", model.FilterChainMatch{}))
	out = bound("out", "127.0.0.1:0", plainChain("out", model.FilterChainMatch{}))
	virtualIn = bound("virtual-in", "10.0.0.1:80", plainChain("vin", model.FilterChainMatch{}))
	virtualOut = bound("virtual-out", "10.0.0.2:80", plainChain("vout", model.FilterChainMatch{}))
	virtualIn.BindToPort, virtualOut.BindToPort = false, false
	for _, l := range []*model.Listener{in, virtualIn} {
		l.TrafficDirection = model.TrafficInbound
	}
	return in, out, virtualIn, virtualOut
}

func refused(t *testing.T, addr string) bool {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

func TestDrainOfInboundListeners(t *testing.T) {
	var told []bool
	b := newBed(t, func(o *Options) { o.Stopping = func(inboundOnly bool) { told = append(told, inboundOnly) } })
	in, out, virtualIn, virtualOut := inboundAndOutbound()
	b.mustApply(in, out, virtualIn, virtualOut)
	inAddr, outAddr := b.address("in"), b.address("out")
	if _, ok := b.Arrival(netip.MustParseAddrPort("10.0.0.1:80")); !ok {
		t.Error("connections are not handed off to an inbound listener")
	}
	b.Drain(false, true, false)
	if len(told) != 1 || !told[0] {
		t.Errorf("told of %v", told)
	}
	if !refused(t, inAddr) || refused(t, outAddr) {
		t.Error("not the inbound listener alone has stopped")
	}
	if _, ok := b.Arrival(netip.MustParseAddrPort("10.0.0.1:80")); ok {
		t.Error("connections are still handed off to an inbound listener")
	}
	if _, ok := b.Route(netip.MustParseAddrPort("10.0.0.2:80")); !ok {
		t.Error("connections are not handed off to an outbound listener")
	}
	if got := b.counter("listener_manager.listener_stopped"); got != 2 {
		t.Errorf("listener_stopped = %d", got)
	}
	// Updates bring back nothing that was stopped, and apply to the rest.
	again := bound("in", "127.0.0.1:0", plainChain("in2", model.FilterChainMatch{}))
	again.TrafficDirection = model.TrafficInbound
	more := bound("more", "127.0.0.1:0", plainChain("more", model.FilterChainMatch{}))
	b.mustApply(again, out, virtualIn, virtualOut, more)
	if addr := b.address("in"); addr != "" && !refused(t, addr) {
		t.Error("an update opened an inbound listener again")
	}
	if refused(t, b.address("more")) {
		t.Error("a new outbound listener does not accept")
	}
	b.Drain(false, false, false)
	if len(told) != 2 || told[1] || !refused(t, outAddr) {
		t.Errorf("told of %v, or the outbound listener still accepts", told)
	}
}

func TestGracefulDrain(t *testing.T) {
	b := newBed(t, func(o *Options) { o.DrainTime, o.DrainStrategy = 300*time.Millisecond, DrainGradual })
	l := bound("l", "127.0.0.1:0", plainChain("l", model.FilterChainMatch{}))
	b.mustApply(l)
	addr := b.address("l")
	before := dial(t, addr)
	line(t, before)
	if b.DrainClose(l) {
		t.Error("responses are the last ones before the drain")
	}
	b.Drain(true, false, false)
	begun := b.drains.since(l)
	b.Drain(true, true, false) // is part of what is under way
	b.Drain(true, false, true)
	if b.drains.since(l) != begun {
		t.Error("a drain under way was begun again")
	}
	line(t, dial(t, addr)) // accepted and served
	if got := line(t, before); got != "draining" {
		t.Errorf("the connection that was there before got %q", got)
	}
	await.True(t, "the listener stops", func() bool { return refused(t, addr) })
	if !b.DrainClose(l) {
		t.Error("responses are not the last ones after the drain time")
	}
}

func TestDrainThatSkipsExit(t *testing.T) {
	b := newBed(t, func(o *Options) { o.DrainTime = time.Millisecond })
	l := bound("l", "127.0.0.1:0", plainChain("l", model.FilterChainMatch{}))
	l.TrafficDirection = model.TrafficInbound
	b.mustApply(l)
	b.Drain(true, true, true)
	// A second drain does not end what the first was to leave open.
	b.Drain(true, true, false)
	for range 2 {
		line(t, dial(t, b.address("l")))
	}
	outbound := *l
	outbound.TrafficDirection = model.TrafficOutbound
	if !b.DrainClose(l) || b.DrainClose(&outbound) {
		t.Error("not the inbound listener alone drains")
	}
	if n := testing.AllocsPerRun(100, func() { b.DrainClose(l) }); n != 0 {
		t.Errorf("%v allocations for each response", n)
	}
}
