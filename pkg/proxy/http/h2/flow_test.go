package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
	"github.com/weir-proxy/weir/test/leak"
)

// pieces is a body of random bytes that comes in pieces of random sizes, and waits as often as not.
type pieces struct {
	r    *rand.Rand
	data []byte
	at   int
	tail *message.Headers
}

func (b *pieces) Read(p []byte) (int, error) {
	if b.at == len(b.data) {
		return 0, io.EOF
	}
	n := min(len(p), len(b.data)-b.at, 1+b.r.IntN(40000))
	copy(p, b.data[b.at:b.at+n])
	b.at += n
	if b.at == len(b.data) && b.r.IntN(2) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *pieces) Trailers() *message.Headers { return b.tail }
func (b *pieces) Close() error               { return nil }

func (b *pieces) Buffered() (int, bool) {
	if b.r.IntN(2) == 0 {
		return 0, false
	}
	return len(b.data) - b.at, true
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestBytesOutAreBytesIn echoes bodies of random sizes through small windows, many at a time.
func TestBytesOutAreBytesIn(t *testing.T) {
	small := model.HTTP2Options{InitialStreamWindowSize: 3000, InitialConnectionWindowSize: 70000}
	h := &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: s.Request().Body})
	}}
	nc, _, _ := serve(t, ServerOptions{HTTP2: small}, h)
	cc := connect(t, nc, ClientOptions{HTTP2: small})
	var wg sync.WaitGroup
	for seed := range uint64(40) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 3))
			data := randomBytes(r, r.IntN(200000))
			st, err := cc.NewStream()
			if err != nil {
				t.Error(err)
				return
			}
			defer st.Close()
			req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1}
			body := &pieces{r: r, data: data}
			if seed%2 == 0 {
				body.tail = &message.Headers{}
				body.tail.Add("x-sum", "1")
			} else {
				req.ContentLength = int64(len(data))
			}
			req.Body = body
			var resp message.Response
			if err := st.RoundTrip(req, &resp, nil); err != nil {
				t.Errorf("seed %d: %v", seed, err)
				return
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("seed %d: %d of %d bytes, %v", seed, len(got), len(data), err)
			}
			if tr := resp.Body.Trailers(); (tr != nil) != (seed%2 == 0) {
				t.Errorf("seed %d: trailers %v", seed, tr)
			}
		})
	}
	wg.Wait()
}

// endless is a body that always has more.
type endless struct {
	mu   sync.Mutex
	read int
}

func (b *endless) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += len(p)
	return len(p), nil
}

func (b *endless) Trailers() *message.Headers { return nil }
func (b *endless) Close() error               { return nil }
func (b *endless) Buffered() (int, bool)      { return 1 << 20, false }
func (b *endless) sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

// TestSlowReaderStopsTheSender lets both sides send for ever to readers that do not read: what is read of the bodies is
// bounded by windows and buffers, and goes on when somebody reads.
func TestSlowReaderStopsTheSender(t *testing.T) {
	const window = 100000
	opt := model.HTTP2Options{InitialStreamWindowSize: window, InitialConnectionWindowSize: 10 * window}
	up, down := &endless{}, &endless{}
	goOn, stop := make(chan bool), make(chan bool)
	h := &handler{serve: func(s codec.ServerStream) {
		go func() {
			<-goOn
			_, _ = io.CopyN(io.Discard, s.Request().Body, 5*window)
		}()
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: down})
		close(stop)
	}}
	nc, _, _ := serve(t, ServerOptions{HTTP2: opt}, h)
	cc := connect(t, nc, ClientOptions{HTTP2: opt})
	st, err := cc.NewStream()
	if err != nil {
		t.Fatal(err)
	}
	var resp message.Response
	req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1, Body: up}
	if err := st.RoundTrip(req, &resp, nil); err != nil {
		t.Fatal(err)
	}
	// Nobody reads: both stand still at what a window and two blocks hold.
	var before [2]int
	await.True(t, "both stand still", func() bool {
		now := [2]int{up.sent(), down.sent()}
		still := now == before && now[0] >= window && now[1] >= window
		before = now
		time.Sleep(20 * time.Millisecond)
		return still
	})
	for _, n := range before {
		if n > window+2*dataBlock {
			t.Errorf("%d bytes were taken of a body that nobody reads", n)
		}
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 5*window); err != nil {
		t.Error(err)
	}
	goOn <- true
	await.True(t, "both go on", func() bool { return up.sent() > 5*window && down.sent() > 5*window })
	st.Close()
	<-stop
}

// TestWindowIsGivenBackAsTheBodyIsRead watches the WINDOW_UPDATE frames of a server.
func TestWindowIsGivenBackAsTheBodyIsRead(t *testing.T) {
	const window = 65535
	read := make(chan int)
	nc, _, _ := serve(t, ServerOptions{HTTP2: model.HTTP2Options{InitialStreamWindowSize: window, InitialConnectionWindowSize: window}}, &handler{serve: func(s codec.ServerStream) {
		for n := range read {
			if _, err := io.CopyN(io.Discard, s.Request().Body, int64(n)); err != nil {
				t.Error(err)
			}
		}
		echo(s)
	}})
	w := greet(t, nc)
	w.open(1, false, with(":method", "POST")...)
	for range 3 {
		w.must(w.WriteData(1, false, make([]byte, 16000)))
	}
	w.must(w.WriteDataPadded(1, false, make([]byte, 100), make([]byte, 200)))
	w.must(w.WritePing(false, [8]byte{1}))
	w.until("PING", func(f http2.Frame) bool {
		if u, ok := f.(*http2.WindowUpdateFrame); ok {
			t.Errorf("window of %d although nothing was read", u.Increment)
		}
		_, ok := f.(*http2.PingFrame)
		return ok
	})
	read <- 48000
	var got [2]uint32
	w.until("windows", func(f http2.Frame) bool {
		if u, ok := f.(*http2.WindowUpdateFrame); ok {
			got[min(u.StreamID, 1)] += u.Increment
		}
		return got[0] > 0 && got[1] > 0
	})
	if got[0] < 48000/2 || got[0] > 48301 || got[1] < 48000/2 || got[1] > 48301 {
		t.Errorf("windows %v", got)
	}
	close(read)
	w.must(w.WriteData(1, true, nil))
}

// TestSettingsChangeWindows lowers and raises the window of a stream that sends.
func TestSettingsChangeWindows(t *testing.T) {
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: 10, Body: message.NewString("0123456789")})
	}})
	w := greet(t, nc, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4})
	w.open(1, true, get...)
	data := func(f http2.Frame) string {
		if d, ok := f.(*http2.DataFrame); ok {
			return string(d.Data())
		}
		return ""
	}
	var got string
	w.until("4 bytes", func(f http2.Frame) bool { got += data(f); return got == "0123" })
	w.must(w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	w.must(w.WriteWindowUpdate(1, 6)) // makes the window 2
	w.until("2 bytes", func(f http2.Frame) bool { got += data(f); return got == "012345" })
	w.must(w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	w.until("the rest", func(f http2.Frame) bool { got += data(f); return got == "0123456789" })
}

// TestReplyToAnAbortedRequestWaitsForNothing: a client without window cannot hold a stream for ever.
func TestReplyToAnAbortedRequestWaitsForNothing(t *testing.T) {
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		s.Abort(errors.New("timeout"))
		_ = s.WriteResponse(&message.Response{Status: 504, ContentLength: 4, Body: message.NewString("late")})
	}})
	w := greet(t, nc, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	w.open(1, true, get...)
	if a, b := w.verdict(), w.verdict(); a != "status 504" || b != "reset INTERNAL_ERROR" {
		t.Errorf("%s, %s", a, b)
	}
}

// TestAbortWhileThePeerReadsNothing: a response is given up although the socket takes no bytes, and others go on.
func TestAbortWhileThePeerReadsNothing(t *testing.T) {
	streams := make(chan codec.ServerStream, 1)
	ended := make(chan error, 1)
	cause := errors.New("too slow")
	h := &handler{serve: func(s codec.ServerStream) {
		if s.Request().Path != "/slow" {
			echo(s)
			return
		}
		streams <- s
		ended <- s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: &endless{}})
	}}
	nc := servePlain(t, h)
	w := greet(t, nc, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	w.must(w.WriteWindowUpdate(0, 1<<30))
	w.open(1, true, with(":path", "/slow")...)
	s := <-streams
	before := uint64(0)
	await.True(t, "the socket is full", func() bool {
		now := s.Counts().ResponseBody
		still := now == before && now > 0
		before = now
		time.Sleep(50 * time.Millisecond)
		return still
	})
	s.Abort(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("WriteResponse: %v", err)
	}
	w.open(3, true, get...)
	var reset, answered bool
	w.until("the reset and the other response", func(f http2.Frame) bool {
		if r, ok := f.(*http2.RSTStreamFrame); ok && r.StreamID == 1 {
			reset = true
		}
		if m, ok := f.(*http2.MetaHeadersFrame); ok && m.StreamID == 3 {
			answered = true
		}
		return reset && answered
	})
}

// TestNoGoroutineIsLeft opens and closes connections in all states.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		a, b := conntest.Sockets(t)
		srv := NewServer(b, ServerOptions{})
		ended := make(chan error, 1)
		go func() {
			ended <- srv.Serve(context.Background(), &handler{serve: func(s codec.ServerStream) {
				_ = s.WriteResponse(&message.Response{Status: 200, ContentLength: -1, Body: s.Request().Body})
			}})
		}()
		cc, err := NewClientConn(a, ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st, err := cc.NewStream()
		if err != nil {
			t.Fatal(err)
		}
		pr, pw := io.Pipe()
		var resp message.Response
		req := &message.Request{Method: "POST", Scheme: "http", Authority: "a", Path: "/", ContentLength: -1, Body: pipeBody{pr}}
		if err := st.RoundTrip(req, &resp, nil); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(pw, "some")
		cc.Close()
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the body ended in order")
		}
		st.Close()
		<-ended
	}
	leak.Goroutines(t, before)
}

// servePlain is serve on a connection of package conn; it returns the client's end.
func servePlain(t *testing.T, h *handler) net.Conn {
	t.Helper()
	a, b := conntest.Sockets(t)
	srv := NewServer(conntest.Adopt(t, b), ServerOptions{})
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(context.Background(), h) }()
	t.Cleanup(func() {
		a.Close()
		<-ended
	})
	return a
}

func TestIdleConnectionHoldsNoBuffer(t *testing.T) {
	cc, _, _ := pair(t, 100)
	x := newExchange()
	if err := x.do(cc); err != nil {
		t.Fatal(err)
	}
	await.True(t, "buffers are given back", func() bool {
		cc.mu.Lock()
		defer cc.mu.Unlock()
		return cc.out == nil && cc.rest == nil
	})
	if _, err := cc.NewStream(); err != nil {
		t.Fatal(err)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	cc, _, _ := pair(t, 1024)
	x := newExchange()
	x.req.Headers.Add("x-own", strings.Repeat("v", 20))
	do := func() {
		if err := x.do(cc); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		do()
	}
	if n := testing.AllocsPerRun(500, do); n > 0.5 {
		t.Errorf("%v allocations for client and server", n)
	}

	// hpack allocates the strings that are not in its tables, for whoever reads them: here a path, and name and value of a
	// field that the encoder has learnt not to put into the table.
	x.req.Headers.Add("x-request-id", "")
	id := make([]byte, 0, 32)
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		i++
		id = strconv.AppendInt(append(id[:0], "/changes-"...), int64(i), 10)
		x.req.Headers.Set("x-request-id", view(id))
		x.req.Path = view(id)
		do()
	}); n > 3.5 {
		t.Errorf("%v allocations for client and server with two values that change", n)
	}
}
