package agent

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Statistics are asked for by several at once; what the kernel counted is told of once.
func TestReasonCounts(t *testing.T) {
	var kernel atomic.Uint64
	read := func() (map[string]uint64, error) {
		return map[string]uint64{"captured": kernel.Add(3), "other": 0}, nil
	}
	store := stats.NewStore()
	scope := store.Root().Scope("weir.test")
	var counts reasonCounts
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if err := counts.count(scope, read); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := scope.Counter("captured").Value(); got != 2400 {
		t.Errorf("%d are counted, want 2400", got)
	}
	gone := errors.New("closed")
	if err := counts.count(scope, func() (map[string]uint64, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("error %v", err)
	}
}
