package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/test/await"
)

// TestChaos has requests come, give up and end at random while connections fail, drain and grow old, and checks that in the
// end nobody waits, nothing is open and everything was given back.
func TestChaos(t *testing.T) {
	for _, protocol := range []model.UpstreamProtocol{model.UpstreamHTTP1, model.UpstreamHTTP2} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(protocol, " ", seed), func(t *testing.T) { chaos(t, protocol, seed) })
		}
	}
}

func chaos(t *testing.T, protocol model.UpstreamProtocol, seed uint64) {
	f := newFixture(t, protocol, 4)
	f.transport = unsteady(func() Raw { return Raw{Socket: fakeSocket{}} })
	f.shared.Requests[0].SetLimit(3)
	f.shared.SetLimits(Limits{ConnectTimeout: time.Second, MaxRequests: 7, IdleTimeout: 5 * time.Millisecond, PerHost: [2]uint32{3, 0}})
	var clients sync.WaitGroup
	for n := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, n))
		clients.Go(func() { f.behaveBadly(t, random, 300) })
	}
	f.drainDuring(&clients)
	await.True(t, "the connections to end", func() bool { return f.shared.Stats.CxActive.Value() == 0 })
	for i := range 2 {
		if c, p, r := f.shared.Connections[i].Used(), f.shared.Pending[i].Used(), f.shared.Requests[i].Used(); c != 0 || p != 0 || r != 0 {
			t.Errorf("priority %d: %d connections, %d waiting requests and %d requests were not given back", i, c, p, r)
		}
	}
	s := f.shared.Stats
	if n, m := f.stats.RqActive.Load(), s.RqPendingActive.Value(); n != 0 || m != 0 {
		t.Errorf("%d requests are active, %d pending", n, m)
	}
	if s.CxTotal.Value() != s.CxDestroy.Value() {
		t.Errorf("%d connections were made, %d ended", s.CxTotal.Value(), s.CxDestroy.Value())
	}
}

// unsteady is a transport that refuses some connections and takes its time for others; connect makes those that come about.
func unsteady(connect func() Raw) func(context.Context, streaminfo.Origin, string, []string) (Raw, error) {
	return func(ctx context.Context, _ streaminfo.Origin, _ string, _ []string) (Raw, error) {
		switch rand.N(8) {
		case 0:
			return Raw{}, &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Transport: "refused"}
		case 1:
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return Raw{}, ctx.Err()
			}
		}
		return connect(), nil
	}
}

// drainDuring drains the pool again and again until its users are done, and then retires it.
func (f *fixture) drainDuring(users *sync.WaitGroup) {
	stop, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				f.Drain()
			}
		}
	}()
	users.Wait()
	close(stop)
	<-drained
	f.Retire()
}

// behaveBadly makes requests, some of which are given up while they wait.
func (f *fixture) behaveBadly(t *testing.T, random *rand.Rand, requests int) {
	for range requests {
		o := &Options{SNI: string('a' + rune(random.IntN(3))), HighPriority: random.IntN(4) == 0, Preconnect: float64(random.IntN(3))}
		s := f.Reuse(o)
		if s == nil {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(2000))*time.Microsecond)
			var err error
			s, err = f.Connect(ctx, o)
			cancel()
			var bad *upstream.Error
			if err != nil {
				if !errors.As(err, &bad) {
					t.Errorf("error %v", err)
				}
				continue
			}
		}
		if random.IntN(3) == 0 {
			time.Sleep(time.Duration(random.IntN(200)) * time.Microsecond) // holds its connection for a while
		}
		s.Close()
	}
}
