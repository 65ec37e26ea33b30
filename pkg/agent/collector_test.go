package agent

import "testing"

func TestCollectPercent(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{
		{0, 400}, {10 << 20, 400}, {24 << 20, 400}, {32 << 20, 300}, {70 << 20, 130}, {96 << 20, 100}, {1 << 30, 100},
	} {
		if got := collectPercent(tc.live); got != tc.want {
			t.Errorf("%d MB alive: %d percent, want %d", tc.live>>20, got, tc.want)
		}
	}
}
