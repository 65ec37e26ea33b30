package h2

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/test/await"
)

func TestFloodsEndTheConnection(t *testing.T) {
	open := func(w *wire) { w.open(1, false, with(":method", "POST")...) }
	cases := []struct {
		name    string
		opt     model.HTTP2Options
		send    func(w *wire) error
		counter func(s *Stats) *stats.Counter
	}{
		{"empty DATA", model.HTTP2Options{}, func(w *wire) error {
			open(w)
			return errors.Join(w.WriteData(1, false, nil), w.WriteData(1, false, nil))
		}, func(s *Stats) *stats.Counter { return s.InboundEmptyFramesFlood }},
		{"empty CONTINUATION", model.HTTP2Options{MaxConsecutiveInboundEmptyFrames: 3}, func(w *wire) error {
			err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(get...)})
			for range 4 {
				err = errors.Join(err, w.WriteContinuation(1, false, nil))
			}
			return err
		}, func(s *Stats) *stats.Counter { return s.InboundEmptyFramesFlood }},
		{"PRIORITY", model.HTTP2Options{MaxInboundPriorityFramesPerStream: 2}, func(w *wire) error {
			open(w)
			return repeat(5, func(int) error { return w.WritePriority(1, http2.PriorityParam{StreamDep: 3}) })
		}, func(s *Stats) *stats.Counter { return s.InboundPriorityFramesFlood }},
		{"WINDOW_UPDATE", model.HTTP2Options{}, func(w *wire) error {
			open(w)
			return repeat(8, func(int) error { return w.WriteWindowUpdate(1, 1) })
		}, func(s *Stats) *stats.Counter { return s.InboundWindowUpdateFramesFlood }},
		{"CONTINUATION", model.HTTP2Options{}, func(w *wire) error {
			err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(get...)})
			return errors.Join(err, repeat(20, func(int) error { return w.WriteContinuation(1, false, w.block("a", "b")) }))
		}, func(s *Stats) *stats.Counter { return s.HeaderOverflow }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stop := make(chan bool)
			defer close(stop)
			nc, srv, _ := serve(t, ServerOptions{HTTP2: c.opt}, &handler{serve: func(codec.ServerStream) { <-stop }})
			w := greet(t, nc)
			w.must(c.send(w))
			if got := w.verdict(); got != "goaway ENHANCE_YOUR_CALM" {
				t.Errorf("%s", got)
			}
			if n := c.counter(srv.stats).Value(); n != 1 {
				t.Errorf("counter %d", n)
			}
		})
	}
}

func repeat(n int, do func(i int) error) (err error) {
	for i := range n {
		err = errors.Join(err, do(i))
	}
	return err
}

// TestControlFloods sends what has to be answered, and never reads the answers.
func TestControlFloods(t *testing.T) {
	cases := []struct {
		name string
		send func(w *wire, i int) error
	}{
		{"PING", func(w *wire, _ int) error { return w.WritePing(false, [8]byte{}) }},
		{"SETTINGS", func(w *wire, _ int) error { return w.WriteSettings() }},
		{"refused streams", func(w *wire, i int) error {
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 3), BlockFragment: []byte{0x82, 0x86, 0x84, 0x41, 1, 'a'}, EndHeaders: true})
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stop := make(chan bool)
			defer close(stop)
			client, server := stuckPair(t)
			srv := NewServer(server, ServerOptions{HTTP2: model.HTTP2Options{MaxConcurrentStreams: 1, MaxOutboundControlFrames: 100}, LingerTimeout: time.Millisecond})
			ended := make(chan error, 1)
			go func() { ended <- srv.Serve(t.Context(), &handler{serve: func(codec.ServerStream) { <-stop }}) }()
			w := greet(t, client)
			w.open(1, false, with(":method", "POST")...)
			for i := range 100000 {
				if c.send(w, i) != nil {
					break
				}
			}
			stop <- true
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "ENHANCE_YOUR_CALM") {
				t.Errorf("Serve: %v", err)
			}
			if n := srv.stats.OutboundControlFlood.Value(); n != 1 {
				t.Errorf("outbound_control_flood %d", n)
			}
		})
	}
}

// stuckConn takes no bytes.
type stuckConn struct {
	net.Conn
	closed chan bool
}

func (c *stuckConn) Write([]byte) (int, error) {
	<-c.closed
	return 0, io.ErrClosedPipe
}

func (c *stuckConn) SetDeadline(d time.Time) error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.Conn.SetDeadline(d)
}

// stuckPair is a connection whose server cannot write until it sets a deadline.
func stuckPair(t *testing.T) (client, server net.Conn) {
	a, b := conntest.Sockets(t)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, &stuckConn{b, make(chan bool)}
}

func TestRapidResetEndsTheConnection(t *testing.T) {
	done := make(chan bool)
	nc, _, ended := serve(t, ServerOptions{}, &handler{serve: func(codec.ServerStream) { <-done }})
	w := greet(t, nc)
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	block := w.block(get...)
	for i := range 400 {
		id := uint32(2*i + 1)
		err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
		if err != nil || w.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	close(done)
	if err := <-ended; !errors.Is(err, ErrPrematureResets) {
		t.Errorf("Serve: %v", err)
	}
}

func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	stop := make(chan bool)
	nc, _, _ := serve(t, ServerOptions{HTTP2: model.HTTP2Options{MaxConcurrentStreams: 2}}, &handler{serve: func(s codec.ServerStream) {
		<-stop
		echo(s)
	}})
	w := greet(t, nc)
	for _, id := range []uint32{1, 3, 5} {
		w.open(id, true, get...)
	}
	if got := w.verdict(); got != "reset REFUSED_STREAM" {
		t.Errorf("%s", got)
	}
	close(stop)
	for range 2 {
		if got := w.verdict(); got != "status 200" {
			t.Errorf("%s", got)
		}
	}
}

// TestHPACKBomb refers again and again to one large entry of the field table.
func TestHPACKBomb(t *testing.T) {
	nc, srv, _ := serve(t, ServerOptions{}, &handler{serve: echo})
	w := greet(t, nc)
	w.open(1, true, with("a", strings.Repeat("x", 4000))...)
	w.verdict()
	block := append(w.block(get...), []byte(strings.Repeat("\xbe", 12000))...) // 48 MB of fields
	w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndStream: true, EndHeaders: true}))
	if got := w.verdict(); got != "status 431" {
		t.Errorf("%s", got)
	}
	if n := srv.stats.HeaderOverflow.Value(); n != 1 {
		t.Errorf("header_overflow %d", n)
	}
}

func TestUnknownAndMetadataFramesAreIgnored(t *testing.T) {
	nc, srv, _ := serve(t, ServerOptions{HTTP2: model.HTTP2Options{AllowMetadata: true}}, &handler{serve: echo})
	w := greet(t, nc)
	w.must(errors.Join(w.WriteRawFrame(0x4d, 4, 1, nil), w.WriteRawFrame(0xbe, 0xff, 7, []byte("x")), w.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=3"))))
	w.open(1, true, get...)
	if got := w.verdict(); got != "status 200" {
		t.Errorf("%s", got)
	}
	if n := srv.stats.MetadataEmptyFrames.Value(); n != 1 {
		t.Errorf("metadata_empty_frames %d", n)
	}
}

func TestUnderscores(t *testing.T) {
	got := make(chan bool, 1)
	nc, srv, _ := serve(t, ServerOptions{UnderscoresAction: model.UnderscoresDrop}, &handler{serve: func(s codec.ServerStream) {
		_, there := s.Request().Headers.Lookup("a_b")
		got <- there
		echo(s)
	}})
	w := greet(t, nc)
	w.open(1, true, with("a_b", "c")...)
	if w.verdict(); <-got {
		t.Error("the field is still there")
	}
	if n := srv.stats.DroppedHeadersWithUnderscores.Value(); n != 1 {
		t.Errorf("dropped_headers_with_underscores %d", n)
	}
}

// TestRejectedUnderscores holds what Envoy's API says of REJECT_REQUEST: HTTP/2 requests end with a reset of their stream.
func TestRejectedUnderscores(t *testing.T) {
	nc, srv, _ := serve(t, ServerOptions{UnderscoresAction: model.UnderscoresReject}, &handler{serve: echo})
	w := greet(t, nc)
	w.open(1, true, with("a_b", "c")...)
	if got := w.verdict(); !strings.HasPrefix(got, "reset ") {
		t.Errorf("%s", got)
	}
	w.open(3, true, with()...)
	if got := w.verdict(); !strings.Contains(got, "200") {
		t.Errorf("the next request: %s", got)
	}
	if n := srv.stats.RequestsRejectedUnderscoresInHeaders.Value(); n != 1 {
		t.Errorf("requests_rejected_with_underscores_in_headers %d", n)
	}
}

// TestHeadThatDoesNotEnd is answered when the handler's time for heads is up.
func TestHeadThatDoesNotEnd(t *testing.T) {
	h := &handler{serve: echo}
	nc, srv, ended := serve(t, ServerOptions{}, h)
	w := greet(t, nc)
	w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(get...)}))
	late := &codec.Error{Status: 408, Reason: "head_timeout", Err: errors.New("too late")}
	await.True(t, "the head is being received", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return fmt.Sprint(h.idle) == "[true false]"
	})
	srv.Expire(late)
	if got := w.verdict(); got != "status 408" {
		t.Errorf("%s", got)
	}
	if got := w.verdict(); got != "goaway ENHANCE_YOUR_CALM" {
		t.Errorf("%s", got)
	}
	nc.Close()
	if err := <-ended; !errors.Is(err, late) {
		t.Errorf("Serve: %v", err)
	}
}
