package datagram

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// BenchmarkDecide is the decision about a datagram, in the kernel.
func BenchmarkDecide(b *testing.B) {
	w := newBench(b)
	w.apply(nil, rule("10.99.0.0/16", 53, steer.Redirect))
	for name, dst := range map[string]string{"captured": "10.99.0.1:53", "passed": "10.1.0.1:54"} {
		b.Run(name, func(b *testing.B) {
			e := wireExplain{Query: wireQuery{Netns: w.opts.Netns}}
			e.Query.Addr, e.Query.Port = wireOf(netip.MustParseAddrPort(dst))
			data, err := binary.Append(nil, binary.NativeEndian, &e)
			if err != nil {
				b.Fatal(err)
			}
			_, perRun, err := w.objects.Explain.Benchmark(data, b.N, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(perRun.Nanoseconds()), "ns/decision")
		})
	}
}

// BenchmarkOriginalDst is a question about a flow.
func BenchmarkOriginalDst(b *testing.B) {
	w := newBench(b)
	w.apply(nil, rule("10.99.0.0/16", 53, steer.Redirect), rule("fd00:99::/64", 53, steer.Redirect))
	number, dest := uint32(0x10000), wireDest{Addr: netip.MustParseAddr("10.99.0.1").As16(), Port: portOf(53)}
	if err := w.objects.Dests.Update(number, &dest, ebpf.UpdateAny); err != nil {
		b.Fatal(err)
	}
	client, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	from := client.LocalAddr().(*net.UDPAddr).AddrPort()
	for name, local := range map[string]netip.AddrPort{
		"IPv4": netip.AddrPortFrom(netip.MustParseAddr("127.1.0.0"), 1),
		"IPv6": netip.AddrPortFrom(netip.IPv6Loopback(), w.ports[w.opts.Netns].IPv6[0]),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				w.OriginalDst(0, from, local)
			}
		})
	}
}
