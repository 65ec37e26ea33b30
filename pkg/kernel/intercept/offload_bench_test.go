package intercept

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// mesh is a plan of so many services with so many endpoints each.
func mesh(services, endpoints int) (*steer.Plan, []*steer.Service) {
	plan := &steer.Plan{}
	var all []*steer.Service
	for n := range services {
		s := offloaded(fmt.Sprint("service-", n), steer.RoundRobin)
		for k := range endpoints {
			id := n*endpoints + k
			addr := netip.AddrFrom4([4]byte{172, byte(16 + id>>16), byte(id >> 8), byte(id)})
			s.Endpoints = append(s.Endpoints, steer.Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Cluster: s.Name})
		}
		all = append(all, s)
		plan.Rules = append(plan.Rules, steer.Rule{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, byte(n >> 8), byte(n)}), 32), Port: 80,
			Action: steer.Offload, Service: s.Name, Listener: s.Name,
		})
	}
	return plan, all
}

// TestMemory holds what ten thousand services of ten endpoints cost the kernel, as it accounts for it.
func TestMemory(t *testing.T) {
	i, _, _ := newDecider(t)
	plan, all := mesh(10_000, 10)
	before := i.memlock(t)
	i.applyServices(t, all...)
	i.mustApply(t, plan)
	after := i.memlock(t)
	t.Logf("10,000 services with 10 endpoints: %.1f MB, without: %.1f MB", float64(after)/1e6, float64(before)/1e6)
	if after > 40e6 {
		t.Errorf("%d bytes, want 40 MB at most", after)
	}
}

var memlock = regexp.MustCompile(`(?m)^memlock:\s+(\d+)$`)

// memlock adds up the memory of all maps.
func (i *Interceptor) memlock(t *testing.T) (sum int) {
	t.Helper()
	o := i.objects
	maps := []*ebpf.Map{o.Control, o.Netns, o.Arena, o.Capture, o.Exclude, o.Handoff, o.Places, o.Reasons}
	for _, c := range i.services.chunks {
		maps = append(maps, c.blocks)
	}
	for _, m := range maps {
		info, err := os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", m.FD()))
		found := memlock.FindSubmatch(info)
		if err != nil || found == nil {
			t.Fatalf("map %s: %v\n%s", m, err, info)
		}
		n, err := strconv.Atoi(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// BenchmarkOffloadDecision measures the kernel's choice of an endpoint with one service, and with ten thousand.
func BenchmarkOffloadDecision(b *testing.B) {
	for _, services := range []int{1, 10_000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			i, _, _ := newDecider(b)
			plan, all := mesh(services, 10)
			i.applyServices(b, all...)
			if err := i.Apply(plan); err != nil {
				b.Fatal(err)
			}
			in := wireExplain{Query: wireQuery{Netns: i.opts.Netns, Protocol: protocolTCP, Family: familyIPv4}}
			in.Query.Addr, in.Query.Port = wireOf(netip.MustParseAddrPort("10.96.0.0:80"))
			reportDecision(b, i, &in)
		})
	}
}

// BenchmarkApplyService measures the change of one endpoint, by the number of endpoints of its service, among 10,000 services.
func BenchmarkApplyService(b *testing.B) {
	i, _, _ := newDecider(b)
	plan, all := mesh(10_000, 10)
	i.applyServices(b, all...)
	if err := i.Apply(plan); err != nil {
		b.Fatal(err)
	}
	for _, endpoints := range []int{10, 1000} {
		b.Run(fmt.Sprint(endpoints), func(b *testing.B) {
			_, big := mesh(1, endpoints+1)
			forms := [2]*steer.Service{big[0], offloaded(big[0].Name, steer.RoundRobin)}
			forms[1].Endpoints = big[0].Endpoints[:endpoints]
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				if err := i.ApplyServices(forms[n%2:n%2+1], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkApplyServices measures the first write of 10,000 services with 10 endpoints.
func BenchmarkApplyServices(b *testing.B) {
	plan, all := mesh(10_000, 10)
	for b.Loop() {
		i, _, _ := newDecider(b)
		i.applyServices(b, all...)
		if err := i.Apply(plan); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConnect compares connect() in a cgroup with weir's programs to the same outside of it, in turns: to an endpoint of a
// service of 1,000, and to a destination that no rule is for.
func BenchmarkConnect(b *testing.B) {
	const spread = 1000
	bench := newBench(b)
	server := crowd(b, "0.0.0.0:0", "hello")
	outside := kerneltest.Cgroup(b, bench.hierarchy, bench.name+"-outside")
	first := netip.AddrPortFrom(netip.MustParseAddr("127.0.1.0"), server.Port())
	s := offloaded("shop", steer.RoundRobin)
	for n := range spread {
		s.Endpoints = append(s.Endpoints, steer.Endpoint{Addr: spreadAddr(first, n, spread), Cluster: "shop"})
	}
	bench.apply(b, bench.offloadPlan("192.0.2.80/32"))
	bench.applyServices(b, s)
	direct := burst{Addr: first.String(), Spread: spread, Times: 4000, How: []string{endReset}}
	offload := direct
	offload.Addr, offload.Spread = nowhere4, 0
	for _, test := range []struct {
		name string
		with burst
	}{{"offloaded", offload}, {"left alone", direct}} {
		b.Run(test.name, func(b *testing.B) {
			var ratios, without, with []float64
			for b.Loop() {
				x, y := clients(b, outside, direct), clients(b, bench.dir, test.with)
				without, with = append(without, float64(x.PerConnect)), append(with, float64(y.PerConnect))
				ratios = append(ratios, float64(y.PerConnect)/float64(x.PerConnect))
			}
			b.ReportMetric(median(ratios), "x-direct")
			b.ReportMetric(median(without), "ns/direct")
			b.ReportMetric(median(with), "ns/with-weir")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkThroughput compares one stream to an endpoint, offloaded, with the same stream without weir, in turns.
func BenchmarkThroughput(b *testing.B) {
	bench := newBench(b)
	server := crowd(b, "127.0.0.1:0", "hello")
	outside := kerneltest.Cgroup(b, bench.hierarchy, bench.name+"-outside")
	bench.apply(b, bench.offloadPlan("192.0.2.80/32"))
	bench.applyServices(b, offloaded("shop", steer.RoundRobin, server))
	direct := burst{Addr: server.String(), Times: 2, Send: 512 << 20}
	offload := direct
	offload.Addr = nowhere4
	var ratios []float64
	for b.Loop() {
		x, y := clients(b, outside, direct), clients(b, bench.dir, offload)
		ratios = append(ratios, float64(x.Elapsed)/float64(y.Elapsed))
	}
	b.ReportMetric(median(ratios), "x-direct")
	b.ReportMetric(0, "ns/op")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}
