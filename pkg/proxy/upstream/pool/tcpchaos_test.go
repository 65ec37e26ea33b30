package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// TestTCPChaos has users come and go at random while connections fail, die, drain and grow old, and checks that in the end nothing
// is open and everything was given back.
func TestTCPChaos(t *testing.T) {
	f := newTCPFixture(t, 6)
	f.transport = func(ctx context.Context, _ streaminfo.Origin, _ string, _ []string) (Raw, error) {
		c := &fakeTCP{}
		switch rand.N(8) {
		case 0:
			return Raw{}, &upstream.Error{Kind: upstream.KindConnect, BeforeResponse: true, Transport: "refused"}
		case 1:
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return Raw{}, ctx.Err()
			}
		case 2:
			c.hungUp.Store(true)
		}
		return Raw{Conn: c, Socket: c}, nil
	}
	f.shared.SetLimits(Limits{ConnectTimeout: time.Second, TCPIdleTimeout: 3 * time.Millisecond, MaxDuration: 20 * time.Millisecond, PerHost: [2]uint32{5, 0}})
	var users sync.WaitGroup
	for n := range uint64(6) {
		random := rand.New(rand.NewPCG(7, n))
		users.Go(func() {
			for range 400 {
				f.useBadly(t.Context(), random)
			}
		})
	}
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
	f.idle(t)
}

// useBadly uses a connection for a while, or gives up.
func (f *fixture) useBadly(ctx context.Context, random *rand.Rand) {
	o := &TCPOptions{SNI: string('a' + rune(random.IntN(3))), HighPriority: random.IntN(4) == 0, Preconnect: float64(random.IntN(4))}
	c := f.ReadyTCP(o)
	if c == nil {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(1+random.IntN(2000))*time.Microsecond)
		defer cancel()
		var err error
		if c, err = f.TCP(ctx, o); err != nil {
			return
		}
	}
	if random.IntN(3) == 0 {
		c.Settled()
	}
	if random.IntN(3) == 0 {
		f.PreconnectTCP(o, 2)
	}
	c.Close()
}
