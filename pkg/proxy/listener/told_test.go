package listener

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/test/await"
)

// leaver notes how much time its connections had between being told to finish and being cut off.
type leaver struct {
	mu     sync.Mutex
	untold int
	left   []time.Duration
	due    func(*filter.Drain)
}

func (l *leaver) Serve(_ context.Context, c *filter.Connection) (rests bool) {
	var mu sync.Mutex
	var told time.Time
	c.Drain.Notify(func() {
		mu.Lock()
		defer mu.Unlock()
		told = time.Now()
	})
	_, _ = c.Conn.Write([]byte("hello\n"))
	if l.due != nil {
		l.due(c.Drain)
	}
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.Conn})
	ended := time.Now()
	c.Drain.Forget()
	l.mu.Lock()
	defer l.mu.Unlock()
	if told.IsZero() {
		l.untold++
	} else {
		l.left = append(l.left, ended.Sub(told))
	}
	return false
}

// Whoever is told to finish has at least half of the drain time for it.
func TestConnectionsAreToldInTime(t *testing.T) {
	const many, drainTime = 60, time.Second
	for _, tc := range []struct {
		name string
		next func(*model.Listener)
	}{
		{name: "removed", next: nil},
		{name: "chain changed", next: func(l *model.Listener) { l.FilterChains[0].Hash++ }},
		{name: "listener changed", next: func(l *model.Listener) { l.StatPrefix, l.FilterChains[0].Hash = "other", 7 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			serving := &leaver{}
			b := newBed(t, func(o *Options) {
				o.DrainTime, o.DrainStrategy = drainTime, DrainGradual
				o.NewFilter = func(*model.Listener, *model.FilterChain, *model.NetworkFilter) (filter.Network, error) {
					return serving, nil
				}
			})
			b.mustApply(bound("l", "127.0.0.1:0", plainChain("l", model.FilterChainMatch{})))
			addr := b.address("l")
			for range many {
				line(t, dial(t, addr))
			}
			if tc.next == nil {
				b.mustApply()
			} else {
				l := bound("l", "127.0.0.1:0", plainChain("l", model.FilterChainMatch{}))
				tc.next(l)
				b.mustApply(l)
			}
			ended := func() int {
				serving.mu.Lock()
				defer serving.mu.Unlock()
				return len(serving.left) + serving.untold
			}
			await.True(t, "all connections end", func() bool { return ended() == many })
			if serving.untold > 0 {
				t.Errorf("%d connections were cut off untold", serving.untold)
			}
			const slack = drainTime / 4 // of the scheduler
			for _, left := range serving.left {
				if left < drainTime/2-slack {
					t.Errorf("a connection had %s of %s", left, drainTime)
				}
			}
		})
	}
}

// A busy connection of a chain that was replaced in place is told by the next response; the others by a growing share of them.
func TestBusyConnectionsAreTold(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*model.Listener)
		due    bool
	}{
		{name: "in place", change: func(l *model.Listener) { l.FilterChains[0].Hash++ }, due: true},
		{name: "all of the listener", change: func(l *model.Listener) { l.StatPrefix, l.FilterChains[0].Hash = "other", 7 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			drains := make(chan *filter.Drain, 1)
			serving := &leaver{due: func(d *filter.Drain) { drains <- d }}
			b := newBed(t, func(o *Options) {
				o.DrainTime, o.DrainStrategy = time.Hour, DrainGradual
				o.NewFilter = func(*model.Listener, *model.FilterChain, *model.NetworkFilter) (filter.Network, error) {
					return serving, nil
				}
			})
			b.mustApply(bound("l", "127.0.0.1:0", plainChain("l", model.FilterChainMatch{})))
			var c net.Conn = dial(t, b.address("l"))
			line(t, c)
			d := <-drains
			if d.Due() {
				t.Error("told before the change")
			}
			l := bound("l", "127.0.0.1:0", plainChain("l", model.FilterChainMatch{}))
			tc.change(l)
			b.mustApply(l)
			if d.Due() != tc.due {
				t.Errorf("the next response is the last one: %v, want %v", !tc.due, tc.due)
			}
		})
	}
}
