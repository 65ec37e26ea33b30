package lb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// outlineShares adds up what an outline gives each host, in percent.
func outlineShares(o Outline, hosts []*upstream.Host) []float64 {
	share := make(map[*upstream.Host]float64)
	for _, p := range o.Parts {
		total := 0.0
		for _, g := range p.Groups {
			total += g.Weight
		}
		for _, g := range p.Groups {
			sum := 0.0
			for _, s := range g.Shares {
				sum += s
			}
			for i, h := range g.Hosts {
				share[h] += float64(p.Load) * g.Weight / total * g.Shares[i] / sum
			}
		}
	}
	out := make([]float64, len(hosts))
	for i, h := range hosts {
		out[i] = share[h]
	}
	return out
}

// TestOutlineIsWhatPickDoes is a property: whatever the hosts and the policy, each host is picked as often as the outline
// says, and nobody is served exactly when a part without hosts is drawn.
func TestOutlineIsWhatPickDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	policies := []model.LBPolicy{model.LBRoundRobin, model.LBRandom, model.LBLeastRequest, model.LBMaglev, model.LBRingHash}
	for n := range 60 {
		opt := Options{
			Policy: policies[n%len(policies)], PanicThreshold: float64(r.IntN(3) * 50), FailOnPanic: r.IntN(3) == 0, LocalityWeighted: r.IntN(2) == 0,
			Hash: model.HashBalancer{TableSize: 257}, Rand: r.Uint64,
		}
		localities := []*model.Locality{{Weight: 1}, {Weight: 3}, {}}
		hosts := make([]*upstream.Host, 1+r.IntN(8))
		for i := range hosts {
			hosts[i] = host(i, prio(uint32(r.IntN(2))), in(localities[r.IntN(3)]), weight(uint32(1+r.IntN(2))))
			hosts[i].Health = []model.HealthStatus{model.HealthUnknown, model.HealthUnknown, model.HealthUnhealthy, model.HealthDegraded}[r.IntN(4)]
		}
		t.Run(fmt.Sprintf("%d %s of %d", n, opt.Policy, len(hosts)), func(t *testing.T) {
			const picks = 30_000
			set := New(hosts, opt)
			count, none := make(map[*upstream.Host]int), 0
			for range picks {
				h, _ := set.Pick(&upstream.PickContext{})
				if h == nil {
					none++
				}
				count[h]++
			}
			sum := 0.0
			for i, want := range outlineShares(set.Outline(), hosts) {
				sum += want
				if got := 100 * float64(count[hosts[i]]) / picks; math.Abs(got-want) > 1.5 {
					t.Errorf("host %d: picked %.2f %%, outlined %.2f %%", i, got, want)
				}
			}
			if got := 100 * float64(none) / picks; math.Abs(got-(100-sum)) > 1.5 {
				t.Errorf("nobody: picked %.2f %%, outlined %.2f %%", got, 100-sum)
			}
		})
	}
}

func TestOutlineOfMaglevHasItsTable(t *testing.T) {
	hosts := []*upstream.Host{host(1), host(2), host(3)}
	set := New(hosts, Options{Policy: model.LBMaglev, Rand: seeded()})
	o := set.Outline()
	if len(o.Parts) != 1 || len(o.Parts[0].Groups) != 1 {
		t.Fatalf("outline %+v, want one part of one group", o)
	}
	slots := o.Parts[0].Groups[0].Slots
	if len(slots) != defaultTable {
		t.Fatalf("%d slots, want %d", len(slots), defaultTable)
	}
	for hash := range uint64(1000) {
		hash *= 0x9e3779b97f4a7c15
		if h, _ := set.Pick(&upstream.PickContext{Hash: hash, HasHash: true}); h != slots[hash%uint64(len(slots))] {
			t.Fatalf("hash %d: slot and pick differ", hash)
		}
	}
}
