package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// link gives one side of a relay and its peer.
func link(t testing.TB) (Side, *net.TCPConn) {
	t.Helper()
	c, peer := conntest.Pair(t)
	return Side{Conn: c, Socket: c, Abort: c.Abort, Reset: c.Reset}, peer
}

// start runs a relay; the channel gives its result, after both sides were closed as a caller does.
func start(ctx context.Context, down, up Side, o Options) <-chan Result {
	if o.Pool == nil {
		o.Pool = &Pool{}
	}
	ended, done := make(chan Result, 1), make(chan Result, 1)
	Start(ctx, down, up, o, func(r Result) { ended <- r })
	go func() {
		r := <-ended
		down.Conn.Close()
		up.Conn.Close()
		done <- r
	}()
	return done
}

// TestBytesArrive sends random amounts in random cuts both ways, the two ends in either order.
func TestBytesArrive(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 7))
		down, client := link(t)
		up, server := link(t)
		var received atomic.Uint64
		down.Received = func(n int) { received.Add(uint64(n)) }
		done := start(t.Context(), down, up, Options{})
		var wg sync.WaitGroup
		send := func(c *net.TCPConn, n int, seed uint64) (sum [32]byte) {
			r := rand.New(rand.NewPCG(seed, 9))
			data := make([]byte, n)
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			wg.Go(func() {
				for rest := data; len(rest) > 0; {
					cut := min(len(rest), 1+r.IntN(100_000))
					if _, err := c.Write(rest[:cut]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[cut:]
				}
				c.CloseWrite()
			})
			return sha256.Sum256(data)
		}
		nUp, nDown := r.IntN(1<<20), r.IntN(1<<20)
		sumUp, sumDown := send(client, nUp, seed), send(server, nDown, seed+100)
		for c, want := range map[*net.TCPConn][32]byte{server: sumUp, client: sumDown} {
			wg.Go(func() {
				if got, err := io.ReadAll(c); err != nil || sha256.Sum256(got) != want {
					t.Errorf("seed %d: %d bytes arrived with other content (%v)", seed, len(got), err)
				}
			})
		}
		wg.Wait()
		res := <-done
		if res.End != Finished || res.FromDownstream != uint64(nUp) || res.FromUpstream != uint64(nDown) || received.Load() != uint64(nUp) {
			t.Errorf("seed %d: %+v, want %d and %d bytes", seed, res, nUp, nDown)
		}
	}
}

func TestHalfClose(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		down, client := link(t)
		up, server := link(t)
		done := start(t.Context(), down, up, Options{})
		first, second := client, server
		if !clientFirst {
			first, second = server, client
		}
		first.Write([]byte("question"))
		first.CloseWrite()
		if q, err := io.ReadAll(second); string(q) != "question" || err != nil {
			t.Fatalf("read %q, %v", q, err)
		}
		second.Write([]byte("answer"))
		second.Close()
		if a, err := io.ReadAll(first); string(a) != "answer" || err != nil {
			t.Fatalf("read %q, %v", a, err)
		}
		if res := <-done; res.End != Finished {
			t.Errorf("%+v", res)
		}
	}
}

func TestResetIsMirrored(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		down, client := link(t)
		up, server := link(t)
		done := start(t.Context(), down, up, Options{})
		dying, other, want := client, server, DownstreamFailed
		if !fromClient {
			dying, other, want = server, client, UpstreamFailed
		}
		dying.SetLinger(0)
		dying.Close()
		if _, err := io.ReadAll(other); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the other side read: %v, want ECONNRESET", err)
		}
		if res := <-done; res.End != want || res.Err == nil {
			t.Errorf("%+v", res)
		}
	}
}

func TestIdleAndAbort(t *testing.T) {
	w := timer.New()
	t.Cleanup(w.Close)
	down, client := link(t)
	up, server := link(t)
	began := time.Now()
	done := start(t.Context(), down, up, Options{Wheel: w, Idle: 500 * time.Millisecond})
	go io.Copy(server, server)
	for range 10 { // traffic keeps it alive beyond the timeout
		client.Write([]byte("x"))
		if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * time.Millisecond)
	}
	res := <-done
	if res.End != Idle || time.Since(began) < time.Second {
		t.Errorf("%+v after %v", res, time.Since(began))
	}

	down, _ = link(t)
	up, _ = link(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	done = start(ctx, down, up, Options{})
	why := errors.New("why")
	cancel(why)
	if res := <-done; res.End != Aborted || !errors.Is(res.Err, why) {
		t.Errorf("%+v", res)
	}
}

// TestSlowReader: a sender that is faster than the reader is held back instead of being buffered.
func TestSlowReader(t *testing.T) {
	down, client := link(t)
	up, server := link(t)
	done := start(t.Context(), down, up, Options{})
	client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	sent, err := client.Write(make([]byte, 256<<20))
	if err == nil {
		t.Fatal("256 MB went into a relay that nobody reads")
	}
	client.CloseWrite()
	got, err := io.Copy(io.Discard, server)
	if err != nil || got != int64(sent) {
		t.Errorf("%d of %d bytes arrived, %v", got, sent, err)
	}
	server.Close()
	<-done
}

func TestPipedPayloadSurvivesPrefix(t *testing.T) {
	down, client := link(t)
	up, server := link(t)
	down.Conn.(*conn.Conn).Prepend([]byte("seen "), nil)
	done := start(t.Context(), down, up, Options{})
	client.Write([]byte("unseen"))
	client.CloseWrite()
	got, _ := io.ReadAll(server)
	if !bytes.Equal(got, []byte("seen unseen")) {
		t.Errorf("got %q", got)
	}
	server.Close()
	<-done
}
