package model

import (
	"math/rand/v2"
	"testing"
)

// TestHostSet compares the set with a map, over random additions and removals.
func TestHostSet(t *testing.T) {
	domains := []string{"*", "a", "b.c", "*.c", "*.b.c", "*-c", "a.*", "b.*", "ab.*", "*c"}
	random := rand.New(rand.NewPCG(1, 2))
	var set *HostSet
	want := map[string]*VirtualHost{}
	for range 5000 {
		d := domains[random.IntN(len(domains))]
		before := set
		if v := want[d]; v != nil {
			set = set.Without(v)
			for _, own := range v.Domains {
				delete(want, own)
			}
		} else {
			v := &VirtualHost{Domains: []string{d}}
			if other := domains[random.IntN(len(domains))]; other != d && want[other] == nil {
				v.Domains = append(v.Domains, other)
			}
			set = set.With(v)
			for _, own := range v.Domains {
				want[own] = v
			}
			if before.Owner(d) != nil {
				t.Fatal("the older set was written to")
			}
		}
		for _, d := range domains {
			if got := set.Owner(d); got != want[d] {
				t.Fatalf("%s: got %v, want %v", d, got, want[d])
			}
		}
		for _, list := range [][]WildcardHosts{set.Suffix, set.Prefix} {
			for i := 1; i < len(list); i++ {
				if list[i-1].Length <= list[i].Length {
					t.Fatal("the longest is not first")
				}
			}
		}
	}
}
