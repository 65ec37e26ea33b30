package h2

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// answered reads to the end, and tells up to which stream the server said that it serves, and the stream that it answered.
func answered(w *wire) (promised, got uint32) {
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return promised, got
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			promised = f.LastStreamID
		case *http2.MetaHeadersFrame:
			got = f.StreamID
		}
	}
}

// What the last GOAWAY says is served, is: also when the drain ends by the clock in the moment in which a request arrives.
func TestDrainEndsWhileAStreamOpens(t *testing.T) {
	fields := append([]string{}, get...)
	for i := range 80 { // so that it takes a while to decode
		fields = append(fields, fmt.Sprint("x-", i), strings.Repeat("v", 100))
	}
	served := 0
	for i := range 400 {
		a, b := conntest.Sockets(t)
		srv := NewServer(b, ServerOptions{DrainTimeout: time.Duration(i+1) * time.Microsecond, LingerTimeout: 5 * time.Second})
		ended := make(chan error, 1)
		w := greet(t, a)
		block := w.block(fields...)
		go func() { ended <- srv.Serve(t.Context(), &handler{serve: echo}) }()
		w.greeted()
		go srv.Drain()
		w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true}))
		promised, got := answered(w)
		a.Close()
		if err := <-ended; err != nil {
			t.Fatalf("Serve: %v", err)
		}
		if promised != got {
			t.Fatalf("after %d µs: GOAWAY names stream %d, answered was %d", i+1, promised, got)
		}
		if got == 1 {
			served++
		}
	}
	t.Logf("%d of 400 requests came in time", served)
}

// greeted waits until the server has greeted.
func (w *wire) greeted() {
	w.t.Helper()
	w.until("SETTINGS", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && !s.IsAck() })
}

// The last stream that GOAWAY frames name does not grow (RFC 9113 section 6.8), although streams are still opened and dropped.
func TestGoAwayDoesNotGrow(t *testing.T) {
	release := make(chan bool)
	nc, srv, ended := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) { <-release; echo(s) }})
	w := greet(t, nc)
	w.open(1, true, get...)
	srv.Drain()
	last := func() (id uint32) {
		w.until("GOAWAY", func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.PingFrame:
				w.must(w.WritePing(true, f.Data))
			case *http2.GoAwayFrame:
				id = f.LastStreamID
				return true
			}
			return false
		})
		return id
	}
	if a, b := last(), last(); a != maxStreamID || b != 1 {
		t.Errorf("GOAWAY frames name %d and %d", a, b)
	}
	w.open(3, true, get...)
	w.must(w.WriteWindowUpdate(0, 0)) // a violation
	if got := last(); got != 1 {
		t.Errorf("the last GOAWAY names %d", got)
	}
	close(release)
	nc.Close()
	if err := <-ended; !IsViolation(err) {
		t.Errorf("Serve: %v", err)
	}
}
