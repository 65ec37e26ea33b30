package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestTCPChaos has users come and go at random while connections fail, die, drain and grow old, and checks that in the end nothing
// is open and everything was given back.
func TestTCPChaos(t *testing.T) {
	f := newTCPFixture(t, 6)
	f.transport = unsteady(func() Raw {
		c := &fakeTCP{}
		c.hungUp.Store(rand.N(7) == 0)
		return Raw{Conn: c, Socket: c}
	})
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
	f.drainDuring(&users)
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
