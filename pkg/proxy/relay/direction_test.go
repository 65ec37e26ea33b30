package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/test/await"
)

// exchange has each end say something to the other one.
func exchange(t testing.TB, client, server net.Conn, said []byte) {
	t.Helper()
	heard := make([]byte, len(said))
	for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
		if _, err := ends[0].Write(said); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(ends[1], heard); err != nil || !bytes.Equal(heard, said) {
			t.Fatalf("heard %q, %v", heard, err)
		}
	}
}

// TestSmallTalkNeedsNoGoroutine has many relays that have moved bytes, and waits until none of them has a goroutine.
func TestSmallTalkNeedsNoGoroutine(t *testing.T) {
	const relays = 40
	done := make(chan Result, relays)
	var clients, servers [relays]*net.TCPConn
	var down, up [relays]Side
	for i := range relays {
		down[i], clients[i] = link(t)
		up[i], servers[i] = link(t)
	}
	before := runtime.NumGoroutine()
	for i := range relays {
		Start(t.Context(), down[i], up[i], Options{Pool: &Pool{}}, func(r Result) { done <- r })
	}
	for i := range relays {
		exchange(t, clients[i], servers[i], []byte("hello"))
	}
	await.True(t, "the relays have no goroutines", func() bool { return runtime.NumGoroutine() < before+relays/2 })
	for i := range relays {
		clients[i].CloseWrite()
		servers[i].CloseWrite()
	}
	for range relays {
		if r := <-done; r.End != Finished || r.FromDownstream != 5 || r.FromUpstream != 5 {
			t.Errorf("%+v", r)
		}
	}
}

// TestAfterBulkComesSmallTalk: a direction that had a goroutine for much goes on without one.
func TestAfterBulkComesSmallTalk(t *testing.T) {
	down, client := link(t)
	up, server := link(t)
	done := start(t.Context(), down, up, Options{})
	for range 5 {
		much := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go client.Write(much)
		if got, err := io.ReadAll(io.LimitReader(server, int64(len(much)))); err != nil || !bytes.Equal(got, much) {
			t.Fatalf("%d bytes arrived, %v", len(got), err)
		}
		for range 50 {
			exchange(t, client, server, []byte("small"))
		}
	}
	client.Close()
	server.Close()
	<-done
}

func TestSmallBurstsAllocateNothing(t *testing.T) {
	down, client := link(t)
	up, server := link(t)
	done := start(t.Context(), down, up, Options{})
	said, heard := []byte("hello"), make([]byte, 5)
	talk := func() {
		if _, err := client.Write(said); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(server, heard); err != nil {
			t.Error(err)
		}
	}
	for range 10 {
		talk()
	}
	if n := testing.AllocsPerRun(200, talk); n != 0 {
		t.Errorf("%v allocations for a burst", n)
	}
	client.Close()
	server.Close()
	<-done
}

// TestSlowReaderOfSmallPieces holds a sender of small pieces back on either side, which a goroutine has to wait for.
func TestSlowReaderOfSmallPieces(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		down, client := link(t)
		up, server := link(t)
		done := start(t.Context(), down, up, Options{})
		fast, slow := client, server
		if !fromClient {
			fast, slow = server, client
		}
		piece, sent := bytes.Repeat([]byte("x"), 1000), 0
		fast.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			n, err := fast.Write(piece)
			sent += n
			if err != nil {
				break
			}
		}
		fast.CloseWrite()
		if got, err := io.Copy(io.Discard, slow); err != nil || got != int64(sent) {
			t.Errorf("%d of %d bytes arrived, %v", got, sent, err)
		}
		slow.Close()
		fast.Close()
		res := <-done
		if n := res.FromDownstream + res.FromUpstream; n != uint64(sent) {
			t.Errorf("%d of %d bytes were counted, %+v", n, sent, res)
		}
	}
}

func TestPanicOfReceived(t *testing.T) {
	for _, size := range []int{1, 1 << 20} { // the poller's goroutine moves the one, another goroutine the other
		down, client := link(t)
		up, server := link(t)
		var calls, told atomic.Int32
		down.Received = func(n int) {
			if calls.Add(1) == 1 && size == 1 || n > recordSize {
				panic("of the test")
			}
		}
		o := Options{Panicked: func(v any, stack []byte) {
			if v != "of the test" || len(stack) == 0 {
				t.Errorf("told of %v", v)
			}
			told.Add(1)
		}}
		done := start(t.Context(), down, up, o)
		go client.Write(make([]byte, size))
		if res := <-done; res.End != Aborted || res.Err == nil || told.Load() != 1 {
			t.Errorf("%d bytes: %+v, told %d times", size, res, told.Load())
		}
		if _, err := io.Copy(io.Discard, server); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d bytes: the upstream read %v", size, err)
		}
	}
}

// TestEndsInEachState ends relays by reset, abort and idle time while a direction rests and while a goroutine waits for room.
func TestEndsInEachState(t *testing.T) {
	type rig struct {
		client, server *net.TCPConn
		cancel         context.CancelFunc
	}
	states := map[string]func(r rig){
		"resting": func(r rig) { exchange(t, r.client, r.server, []byte("hello")) },
		"writing": func(r rig) {
			r.client.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			for {
				if _, err := r.client.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		},
		"half closed": func(r rig) {
			r.client.CloseWrite()
			_, _ = r.server.Read(make([]byte, 1))
		},
	}
	ends := map[string]struct {
		do   func(r rig)
		want End
	}{
		"client resets": {func(r rig) { r.client.SetLinger(0); r.client.Close() }, DownstreamFailed},
		"server resets": {func(r rig) { r.server.SetLinger(0); r.server.Close() }, UpstreamFailed},
		"abort":         {func(r rig) { r.cancel() }, Aborted},
	}
	heard := map[string]int64{"resting": 5} // by the server before
	for state, enter := range states {
		for end, e := range ends {
			down, client := link(t)
			up, server := link(t)
			var sentTo atomic.Uint64
			up.Sent = func(n int) { sentTo.Add(uint64(n)) }
			ctx, cancel := context.WithCancel(t.Context())
			r := rig{client, server, cancel}
			done := start(ctx, down, up, Options{})
			enter(r)
			before := heard[state]
			e.do(r)
			select {
			case res := <-done:
				if res.End != e.want || res.ToUpstream > res.FromDownstream || res.ToDownstream > res.FromUpstream {
					t.Errorf("%s, %s: %+v", state, end, res)
				}
				if got := sentTo.Load(); got != res.ToUpstream {
					t.Errorf("%s, %s: %d bytes were told of, %+v", state, end, got, res)
				}
				server.SetReadDeadline(time.Now().Add(10 * time.Second))
				if n, err := io.Copy(io.Discard, server); end == "abort" && before+n != int64(res.ToUpstream) {
					t.Errorf("%s, %s: the server heard %d bytes, %v, %+v", state, end, before+n, err, res)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%s, %s: no end", state, end)
			}
			cancel()
		}
	}
}

// TestRandomTalk has many relays at once, whose ends send pieces of any size with pauses, and end in any order.
func TestRandomTalk(t *testing.T) {
	var all sync.WaitGroup
	for seed := range uint64(24) {
		down, client := link(t)
		up, server := link(t)
		all.Go(func() { randomTalk(t, seed, down, up, client, server) })
	}
	all.Wait()
}

func randomTalk(t *testing.T, seed uint64, down, up Side, client, server *net.TCPConn) {
	done := start(t.Context(), down, up, Options{})
	var ends sync.WaitGroup
	var sent [2]uint64
	talk := func(i int, to, from *net.TCPConn) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		data := make([]byte, r.IntN(400_000))
		for k := range data {
			data[k] = byte(r.Uint32())
		}
		sent[i] = uint64(len(data))
		ends.Go(func() {
			for rest := data; len(rest) > 0; {
				size := 1 + r.IntN(200)
				if r.IntN(8) == 0 {
					size = 1 + r.IntN(40_000)
				}
				n := min(len(rest), size)
				if _, err := to.Write(rest[:n]); err != nil {
					t.Errorf("seed %d: write: %v", seed, err)
					return
				}
				if rest = rest[n:]; r.IntN(50) == 0 {
					runtime.Gosched()
				}
			}
			to.CloseWrite()
		})
		ends.Go(func() {
			if got, err := io.ReadAll(from); err != nil || !bytes.Equal(got, data) {
				t.Errorf("seed %d: %d of %d bytes arrived, %v", seed, len(got), len(data), err)
			}
		})
	}
	talk(0, client, server)
	talk(1, server, client)
	ends.Wait()
	if res := <-done; res.End != Finished || res.FromDownstream != sent[0] || res.FromUpstream != sent[1] {
		t.Errorf("seed %d: %+v, want %v", seed, res, sent)
	}
}
