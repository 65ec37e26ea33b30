package admin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pieces int
		work   time.Duration // for each piece
		gone   bool          // the client
		want   time.Duration // of rests
	}{
		"each piece is long":         {pieces: 100, work: paceWork, want: 100 * paceRest},
		"every fourth is a piece":    {pieces: 100, work: paceWork / 4, want: 25 * paceRest},
		"little work":                {pieces: 3, work: paceWork / 4, want: 0},
		"no more than is bearable":   {pieces: 10_000, work: paceWork, want: paceTotal},
		"nobody to rest for is left": {pieces: 100, work: paceWork, gone: true, want: 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.gone {
					cancel()
				}
				begin := time.Now()
				p := pacer{since: begin}
				for range tt.pieces {
					time.Sleep(tt.work)
					p.rest(ctx)
				}
				if got := time.Since(begin) - time.Duration(tt.pieces)*tt.work; got != tt.want {
					t.Errorf("rested %v, want %v", got, tt.want)
				}
			})
		})
	}
}
