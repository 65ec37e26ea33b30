package intercept

import (
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// BenchmarkDecision measures what the kernel's decision costs a connect(), by BPF_PROG_RUN; ns/op includes the program's own
// copying of the query and its verdict.
func BenchmarkDecision(b *testing.B) {
	for _, test := range []struct{ name, dst string }{
		{"no rule", "[2001:db9::1]:443"}, {"captured", "10.7.0.1:80"}, {"excluded", "10.9.1.1:80"},
	} {
		b.Run(test.name, func(b *testing.B) {
			i, _, _ := newDecider(b)
			if err := i.Apply(decisionPlan()); err != nil {
				b.Fatal(err)
			}
			in := wireExplain{Query: wireQuery{Netns: i.opts.Netns, Protocol: protocolTCP}}
			in.Query.Addr, in.Query.Port = wireOf(netip.MustParseAddrPort(test.dst))
			reportDecision(b, i, &in)
		})
	}
}

// BenchmarkOriginalDst measures the system call and its wrapping, for a connection that was not captured.
func BenchmarkOriginalDst(b *testing.B) {
	i, _, server := newDecider(b)
	client := netip.MustParseAddrPort("[::1]:4000")
	b.ReportAllocs()
	for b.Loop() {
		i.OriginalDst(0, client, server)
	}
}

// BenchmarkApply measures an update of 10,000 rules of which one differs.
func BenchmarkApply(b *testing.B) {
	i, _, _ := newDecider(b)
	var plans [2]*steer.Plan
	for n := range plans {
		plans[n] = &steer.Plan{}
		for k := range 10_000 {
			addr := netip.AddrFrom4([4]byte{10, byte(k >> 8), byte(k), byte(n)})
			if k > 0 {
				addr = netip.AddrFrom4([4]byte{10, byte(k >> 8), byte(k), 9})
			}
			plans[n].Rules = append(plans[n].Rules, steer.Rule{
				Prefix: netip.PrefixFrom(addr, 32), Port: 80, Action: steer.Redirect, Listener: "shop",
			})
		}
	}
	n := 0
	for b.Loop() {
		n++
		if err := i.Apply(plans[n%2]); err != nil {
			b.Fatal(err)
		}
	}
}

// reportDecision measures the programs' decision about a question, in the kernel.
func reportDecision(b *testing.B, i *Interceptor, in *wireExplain) {
	b.Helper()
	data, err := in.marshal()
	if err != nil {
		b.Fatal(err)
	}
	_, each, err := i.objects.Explain.Benchmark(data, 1_000_000, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(each.Nanoseconds()), "ns/decision")
	b.ReportMetric(0, "ns/op")
}
