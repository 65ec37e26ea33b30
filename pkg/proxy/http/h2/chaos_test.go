package h2

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
)

// errChaos is what exchanges are given up with.
var errChaos = errors.New("given up at random")

// later calls abort after some time unless the returned function was called before, after which it is not called.
func later(d time.Duration, abort func(error)) (stop func()) {
	var mu sync.Mutex
	over := false
	timer := time.AfterFunc(d, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			abort(errChaos)
		}
	})
	return func() {
		timer.Stop()
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// chaoticHandler answers in all ways that a handler can.
func chaoticHandler(s codec.ServerStream, r *rand.Rand) {
	req := s.Request()
	switch r.IntN(8) {
	case 0:
		s.Reset(errChaos)
		return
	case 1:
		_ = s.WriteResponse(&message.Response{Status: 413, ContentLength: 3, Body: message.NewString("big")})
		return
	case 2:
		defer later(time.Duration(r.IntN(2000))*time.Microsecond, s.Abort)()
	case 3:
		return
	case 4:
		_ = s.WriteInformational(&message.Response{Status: 103})
	case 5:
		if req.Body != nil {
			_, _ = io.CopyN(io.Discard, req.Body, int64(r.IntN(50000)))
			_ = req.Body.Close()
		}
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: &pieces{r: r, data: make([]byte, r.IntN(100000))}})
		return
	}
	_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: req.Body})
}

// chaoticExchange sends a request and gives up, or not, at random.
func chaoticExchange(cc *ClientConn, r *rand.Rand) {
	st, err := cc.NewStream()
	if err != nil {
		return
	}
	defer st.Close()
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1}
	pr, pw := io.Pipe()
	defer pw.Close()
	switch r.IntN(4) {
	case 0:
		req.Method = "GET"
	case 1:
		req.Body = pipeBody{pr}
		go func() {
			_, _ = pw.Write(make([]byte, 1000))
			_ = pw.CloseWithError(errChaos)
		}()
	case 2:
		req.Body = &pieces{r: rand.New(rand.NewPCG(r.Uint64(), 1)), data: make([]byte, r.IntN(300000)), tail: &message.Headers{}}
	case 3:
		req.Body = pipeBody{pr} // nobody writes
	}
	defer later(time.Duration(r.IntN(5000))*time.Microsecond, st.Abort)()
	var resp message.Response
	if err := st.RoundTrip(req, &resp, func(*message.Response) {}); err != nil || resp.Body == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, int64(r.IntN(400000)))
}

// TestChaos gives exchanges up at random on both sides, and then looks whether everything was given back: streams, their
// memory, and all of the connection's window.
func TestChaos(t *testing.T) {
	t.Run("writes that can be interrupted", func(t *testing.T) {
		chaos(t, func(c net.Conn) net.Conn { return conntest.Adopt(t, c) })
	})
	t.Run("writes of workers", func(t *testing.T) { chaos(t, func(c net.Conn) net.Conn { return c }) })
}

func chaos(t *testing.T, adopt func(net.Conn) net.Conn) {
	opt := model.HTTP2Options{InitialStreamWindowSize: 70000, InitialConnectionWindowSize: 300000}
	a, b := conntest.Sockets(t)
	srv := NewServer(adopt(b), ServerOptions{HTTP2: opt})
	var mu sync.Mutex
	base := rand.Uint64()
	t.Logf("base of the seeds: %d", base)
	seeds := rand.New(rand.NewPCG(base, 2))
	h := &handler{serve: func(s codec.ServerStream) {
		mu.Lock()
		r := rand.New(rand.NewPCG(seeds.Uint64(), 7))
		mu.Unlock()
		chaoticHandler(s, r)
	}}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(t.Context(), h) }()
	cc := connect(t, adopt(a), ClientOptions{HTTP2: opt})
	var wg sync.WaitGroup
	for seed := range uint64(20) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(base+seed, 9))
			for range 40 {
				if chaoticExchange(cc, r); !cc.CanTake() && cc.Active() == 0 {
					return // too many resets for the server's taste
				}
			}
		})
	}
	wg.Wait()
	for name, c := range map[string]*link{"client": &cc.link, "server": &srv.link} {
		await.True(t, name+" has given all back", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.streams) == 0 && c.workers.busy == 0 && (c.err != nil || c.recvWindow+c.unacked == c.limits.connWindow && c.waiters == nil)
		})
		if n := c.stats.StreamsActive.Value(); n != 0 {
			t.Errorf("%s: %d streams active", name, n)
		}
		if n := c.stats.DeferredStreamClose.Value(); n != 0 {
			t.Errorf("%s: %d streams deferred", name, n)
		}
	}
	cc.Close()
	<-ended
}
