package agent

import (
	"testing"
	"time"
)

func TestCollectPercent(t *testing.T) {
	for _, tc := range []struct {
		live     uint64
		frequent bool
		want     int
	}{
		{0, false, 400},
		{10 << 20, false, 400},
		{24 << 20, false, 400},
		{32 << 20, false, 300},
		{70 << 20, false, 130},
		{96 << 20, false, 100},
		{1 << 30, false, 100},
		{10 << 20, true, 400},
		{32 << 20, true, 300},
		{96 << 20, true, 300},
		{160 << 20, true, 200},
		{200 << 20, true, 160},
		{320 << 20, true, 100},
		{1 << 30, true, 100},
	} {
		if got := collectPercent(tc.live, tc.frequent); got != tc.want {
			t.Errorf("%d MB alive, frequent %v: %d percent, want %d", tc.live>>20, tc.frequent, got, tc.want)
		}
	}
}

// TestCollectPace has collections happen at the given seconds.
func TestCollectPace(t *testing.T) {
	for _, tc := range []struct {
		name  string
		at    []int
		until int
		want  bool
	}{
		{"none", nil, 300, false},
		{"a load", []int{1, 1, 2, 3, 4}, 20, false},
		{"a load, and one soon after", []int{1, 1, 2, 3, 15}, 20, true},
		{"every ten seconds", []int{100, 110}, 111, true},
		{"only those of the runtime", []int{120, 240, 360}, 361, false},
		{"rarer, but still under way", []int{100, 110, 150}, 200, true},
		{"over", []int{100, 110}, 210, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, begin, cycles := collectPace{}, time.Now(), uint64(0)
			for s := range tc.until {
				for _, at := range tc.at {
					if at == s {
						cycles++
					}
				}
				p.see(cycles, begin.Add(time.Duration(s)*time.Second))
			}
			if p.frequent != tc.want {
				t.Errorf("frequent is %v", p.frequent)
			}
		})
	}
}
