package lb

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

func TestFlatten(t *testing.T) {
	near, far := &model.Locality{Weight: 3}, &model.Locality{Weight: 1}
	a, b, c := host(1), host(2), host(3)
	set := func(opt Options, hosts ...*upstream.Host) Choice {
		opt.Rand = seeded()
		return Choice{New(hosts, opt).Outline(), 1}
	}
	weighted := func(c Choice, weight float64) Choice {
		c.Weight = weight
		return c
	}
	tests := []struct {
		name    string
		choices []Choice
		slots   []uint32
		err     error
		hosts   int
	}{
		{"equal weights need no slots", []Choice{set(Options{}, a, b, c)}, nil, nil, 3},
		{"weights are spread evenly", []Choice{set(Options{}, host(1, weight(3)), host(2, weight(1)))}, []uint32{0, 0, 1, 0}, nil, 2},
		{
			"locality weights",
			[]Choice{set(Options{LocalityWeighted: true}, host(1, in(near)), host(2, in(far)), host(3, in(far)))},
			[]uint32{0, 0, 0, 0, 0, 0, 1, 2},
			nil, 3,
		},
		{
			"priorities",
			[]Choice{set(Options{PanicThreshold: 10}, host(1), host(2, health(model.HealthUnhealthy)), host(3, prio(1)))},
			[]uint32{0, 0, 1, 0, 0, 1, 0, 0, 0, 1},
			nil, 2,
		},
		{"clusters by weight", []Choice{weighted(set(Options{}, a), 1), weighted(set(Options{}, b, c), 2)}, nil, nil, 3},
		{"a cluster of no weight", []Choice{weighted(set(Options{}, a), 1), weighted(set(Options{}, b, c), 0)}, nil, nil, 1},
		{"nobody", []Choice{set(Options{})}, nil, nil, 0},
		{"nobody is available", []Choice{set(Options{}, host(1, health(model.HealthUnhealthy)))}, nil, nil, 0},
		{"nobody in one cluster", []Choice{set(Options{}, a), set(Options{})}, nil, ErrPartly, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Flatten(tt.choices, 1000)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err == nil && !got.Exact {
				t.Error("not exact")
			}
			if len(got.Hosts) != tt.hosts {
				t.Errorf("%d hosts, want %d", len(got.Hosts), tt.hosts)
			}
			if d := cmp.Diff(tt.slots, got.Slots); d != "" {
				t.Errorf("slots (-want +got):\n%s", d)
			}
		})
	}
}

// TestFlattenGivesEachItsShare is a property: also where shares cannot be whole, each host has at least one slot, all slots are
// used, and nobody is further from its share than what being whole costs.
func TestFlattenGivesEachItsShare(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 300 {
		hosts := make([]*upstream.Host, 1+r.IntN(60))
		for i := range hosts {
			hosts[i] = host(i, weight(uint32(1+r.IntN(1+r.IntN(500)))))
		}
		most := 1 + r.IntN(500)
		t.Run(fmt.Sprintf("%d of %d", n, len(hosts)), func(t *testing.T) {
			outline := New(hosts, Options{Rand: r.Uint64}).Outline()
			table, err := Flatten([]Choice{{outline, 1}}, most)
			if err != nil {
				t.Fatal(err)
			}
			slots := len(table.Hosts)
			count := make(map[*upstream.Host]int)
			if table.Slots == nil {
				for _, h := range table.Hosts {
					count[h]++
				}
			} else {
				slots = len(table.Slots)
				for _, s := range table.Slots {
					count[table.Hosts[s]]++
				}
			}
			if slots > max(most, len(hosts)) {
				t.Errorf("%d slots, at most %d are allowed", slots, most)
			}
			for i, share := range outlineShares(outline, hosts) {
				want, got := share/100*float64(slots), count[hosts[i]]
				switch {
				case got < 1:
					t.Errorf("host %d has no slot", i)
				case table.Exact && math.Abs(float64(got)-want) > 1e-6:
					t.Errorf("host %d: %d slots, want exactly %.6f", i, got, want)
				case slots >= 8*len(hosts) && want >= 1 && math.Abs(float64(got)-want) > 0.1*want+2:
					t.Errorf("host %d: %d slots, want %.2f", i, got, want)
				}
			}
		})
	}
}
