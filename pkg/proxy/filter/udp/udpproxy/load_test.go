package udpproxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
)

// A datagram of a session that is there is passed on without allocating.
func TestHandleAllocates(t *testing.T) {
	b := newBed(t)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	b.cluster(nil, sink.LocalAddr().(*net.UDPAddr).AddrPort())
	wheel := timer.New()
	defer wheel.Close()
	p := New(&model.UDPProxy{StatPrefix: "q", Cluster: "c", IdleTimeout: time.Minute, Upstream: model.UDPSocket{MaxDatagram: 1500}}, Deps{
		Stats: b.store.Root(), Log: log.ForTest(t), Wheel: wheel, Cluster: func(string) Cluster { return b.clusters.Get("c") },
	})
	defer p.Close()
	d := &udp.Datagram{Peer: netip.MustParseAddrPort("127.0.0.1:1"), Local: netip.MustParseAddrPort("127.0.0.1:2"), Payload: make([]byte, 100)}
	p.Handle(d)
	if n := testing.AllocsPerRun(1000, func() { p.Handle(d) }); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}

// Sessions of many clients that come and go while hosts do: afterwards nothing is left.
func TestSessionTableUnderChange(t *testing.T) {
	b := newBed(t)
	hosts := []netip.AddrPort{echo(t, "a"), echo(t, "b"), echo(t, "c")}
	b.cluster(nil, hosts...)
	addr := b.listen(model.UDPProxy{Cluster: "c", IdleTimeout: 20 * time.Millisecond})[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
				if err != nil {
					return
				}
				for range 5 {
					_, _ = c.Write([]byte("x"))
					_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
					_, _ = c.Read(make([]byte, 10))
				}
				c.Close()
			}
		})
	}
	for i := 0; ctx.Err() == nil; i++ {
		b.cluster(nil, hosts[i%3:i%3+1]...)
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	clients.Wait()
	b.want(map[string]uint64{"udp.p.downstream_sess_active": 0})
	if c := b.clusters.Get("c"); c == nil || c.TryConnection() != nil {
		t.Error("no place is left in the cluster")
	}
	if n := b.udp.List()[0].Sessions; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
}

// BenchmarkEcho is a datagram there and back through listener, proxy and host, one at a time.
func BenchmarkEcho(b *testing.B) {
	w := newBed(b)
	w.cluster(nil, echo(b, ""))
	c := dial(b, w.listen(model.UDPProxy{Cluster: "c", IdleTimeout: time.Minute})[0])
	payload, buf := make([]byte, 100), make([]byte, 200)
	for b.Loop() {
		if _, err := c.Write(payload); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
