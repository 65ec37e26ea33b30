package pool

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// talker is a connection over which bytes go as the test says.
type talker struct {
	fakeTCP
	rx, tx atomic.Uint64
}

func (c *talker) RxBytes() uint64 { return c.rx.Load() }
func (c *talker) TxBytes() uint64 { return c.tx.Load() }

// A connection that is used as it is may live for days: what goes over it is counted as it goes, and nothing twice.
func TestTCPBytesAreCountedWhileItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newTCPFixture(t, 10), &talker{}
		plain := f.transport
		f.transport = func(ctx context.Context, from streaminfo.Origin, sni string, alpn []string) (Raw, error) {
			if raw, err := plain(ctx, from, sni, alpn); err != nil {
				return raw, err
			}
			return Raw{Conn: c, Socket: c}, nil
		}
		close(f.word)
		used := f.use(t, 1, &TCPOptions{})[0]
		s := f.shared.Stats
		want := func(when string, rx, tx uint64) {
			t.Helper()
			synctest.Wait()
			if gotRx, gotTx := s.CxRxBytes.Value(), s.CxTxBytes.Value(); gotRx != rx || gotTx != tx {
				t.Errorf("%s: %d and %d bytes are counted, want %d and %d", when, gotRx, gotTx, rx, tx)
			}
		}
		c.rx.Store(10)
		c.tx.Store(20)
		time.Sleep(sweepInterval + time.Millisecond)
		want("after a sweep", 10, 20)
		c.rx.Store(15)
		time.Sleep(sweepInterval + time.Millisecond)
		want("after another", 15, 20)
		c.tx.Store(21)
		used.Close()
		want("after the end", 15, 21)
		c.tx.Store(22)
		time.Sleep(2 * sweepInterval)
		want("long after the end", 15, 21)
	})
}
