package detect

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn/conntest"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/listener/tlsinspector"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// inspect is a listener filter made of a function.
type inspect func(ctx context.Context, c filter.PeekConn) (filter.ListenerVerdict, error)

func (f inspect) Inspect(ctx context.Context, c filter.PeekConn, _ *streaminfo.Connection) (filter.ListenerVerdict, error) {
	return f(ctx, c)
}

// want peeks at n bytes.
func want(n int) inspect {
	return func(ctx context.Context, c filter.PeekConn) (filter.ListenerVerdict, error) {
		_, err := c.Peek(ctx, n)
		return filter.Continue, err
	}
}

func TestRun(t *testing.T) {
	discard := inspect(func(ctx context.Context, c filter.PeekConn) (filter.ListenerVerdict, error) {
		if _, err := c.Peek(ctx, 3); err != nil {
			return filter.Close, err
		}
		return filter.Continue, c.Discard(3)
	})
	reject := inspect(func(context.Context, filter.PeekConn) (filter.ListenerVerdict, error) { return filter.Close, nil })
	never := inspect(func(context.Context, filter.PeekConn) (filter.ListenerVerdict, error) {
		t.Error("a filter ran after the end")
		return filter.Continue, nil
	})
	cases := []struct {
		name     string
		opts     Options
		send     []string // each once the one before was taken off the socket
		fin      bool
		err      error
		timedOut bool
		rest     string
	}{
		{"no filters", Options{}, []string{"abc"}, true, nil, false, "abc"},
		{"bytes come back", Options{Filters: []filter.Listener{want(1), want(5)}}, []string{"ab", "cdef"}, true, nil, false, "abcdef"},
		{"discarded bytes do not", Options{Filters: []filter.Listener{discard, want(2)}}, []string{"abcdef"}, true, nil, false, "def"},
		{"closed by the client", Options{Filters: []filter.Listener{want(5), never}}, []string{"abc"}, true, ErrRemoteClose, false, ""},
		{"rejected", Options{Filters: []filter.Listener{reject, never}}, nil, false, ErrRejected, false, ""},
		{"timeout", Options{Filters: []filter.Listener{want(1), never}, Timeout: 20 * time.Millisecond}, nil, false, ErrTimeout, true, ""},
		{"timeout with bytes", Options{Filters: []filter.Listener{want(9), never}, Timeout: 20 * time.Millisecond}, []string{"abc"}, false, ErrTimeout, true, ""},
		{"timeout, continue", Options{Filters: []filter.Listener{want(9), never}, Timeout: 20 * time.Millisecond, ContinueOnTimeout: true}, []string{"abc"}, false, nil, true, "abc"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, peer := conntest.Pair(t)
			go func() {
				for _, s := range tc.send {
					peer.Write([]byte(s))
				}
				if tc.fin {
					peer.CloseWrite()
				}
			}()
			var pool Pool
			info := &streaminfo.Connection{}
			timedOut, err := pool.Run(t.Context(), c, info, tc.opts)
			if !errors.Is(err, tc.err) || timedOut != tc.timedOut {
				t.Fatalf("got %v, timed out %v", err, timedOut)
			}
			if info.TransportProtocol != "raw_buffer" {
				t.Errorf("transport protocol %q", info.TransportProtocol)
			}
			if tc.err != nil {
				return
			}
			if !tc.fin {
				peer.CloseWrite()
			}
			if rest, err := io.ReadAll(c); string(rest) != tc.rest || err != nil {
				t.Errorf("then read %q, %v; want %q", rest, err, tc.rest)
			}
		})
	}
}

func TestLimitAndStop(t *testing.T) {
	c, peer := conntest.Pair(t)
	go peer.Write(make([]byte, Limit+1))
	var pool Pool
	if _, err := pool.Run(t.Context(), c, &streaminfo.Connection{}, Options{Filters: []filter.Listener{want(Limit), want(Limit + 1)}}); err == nil {
		t.Error("a peek beyond the limit succeeded")
	}
	c2, _ := conntest.Pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := pool.Run(ctx, c2, &streaminfo.Connection{}, Options{Filters: []filter.Listener{want(1)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped process: %v", err)
	}
}

// waits counts how often it is told.
type waits int

func (w *waits) Waits() { *w++ }

// Filters that look at no bytes cost no timer, no buffer and no goroutine.
func TestOnlyWhatWaitsIsTold(t *testing.T) {
	pass := inspect(func(context.Context, filter.PeekConn) (filter.ListenerVerdict, error) { return filter.Continue, nil })
	look := inspect(func(ctx context.Context, c filter.PeekConn) (filter.ListenerVerdict, error) {
		_, err := c.Peek(ctx, 2)
		return filter.Continue, err
	})
	for _, tc := range []struct {
		name    string
		filters []filter.Listener
		want    waits
	}{
		{"nobody looks", []filter.Listener{pass, pass}, 0},
		{"two look", []filter.Listener{pass, look, look}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, peer := conntest.Pair(t)
			if _, err := peer.Write([]byte("ab")); err != nil {
				t.Fatal(err)
			}
			var pool Pool
			var got waits
			opts := Options{Filters: tc.filters, Timeout: 5 * time.Second, Waiter: &got}
			if _, err := pool.Run(t.Context(), c, &streaminfo.Connection{}, opts); err != nil {
				t.Fatal(err)
			}
			if got != tc.want {
				t.Errorf("told %d times, want %d", got, tc.want)
			}
			if tc.want > 0 {
				return
			}
			info := &streaminfo.Connection{}
			if n := testing.AllocsPerRun(100, func() { pool.Run(t.Context(), c, info, opts) }); n > 1 {
				t.Errorf("%.0f allocations", n)
			}
		})
	}
}

func TestTLSAfterInspection(t *testing.T) {
	c, peer := conntest.Pair(t)
	go tls.Client(peer, &tls.Config{ServerName: "a.test"}).Handshake()
	var pool Pool
	info := &streaminfo.Connection{}
	if _, err := pool.Run(t.Context(), c, info, Options{Filters: []filter.Listener{tlsinspector.New(false)}, Timeout: 5 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if info.TransportProtocol != "tls" || info.ServerName != "a.test" {
		t.Errorf("found %q %q", info.TransportProtocol, info.ServerName)
	}
	var seen string
	tls.Server(c, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = h.ServerName
		return nil, io.EOF
	}}).Handshake()
	if seen != "a.test" {
		t.Errorf("the handshake saw %q", seen)
	}
}
