package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/test/harness"
)

// attack is what a hostile client does until it is told off: step is called with 0, 1, ... until it fails.
type attack struct {
	name string
	step func(w *wire2, n int) error
	// stat must have moved.
	stat string
	// spares tells that only the stream may end.
	spares bool
}

func attacks() []attack {
	request := []string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/hang"}
	return []attack{
		{name: "rapid reset", stat: "http.ingress.downstream_rq_too_many_premature_resets", step: func(w *wire2, n int) error {
			if err := w.headers(stream(n), false, request...); err != nil {
				return err
			}
			return w.WriteRSTStream(stream(n), http2.ErrCodeCancel)
		}},
		{name: "made to reset", stat: "http.ingress.downstream_rq_too_many_premature_resets", step: func(w *wire2, n int) error {
			if err := w.headers(stream(n), false, request...); err != nil {
				return err
			}
			return w.WriteWindowUpdate(stream(n), 0) // for which the server must reset the stream
		}},
		{name: "CONTINUATION", stat: "http2.header_overflow", step: func(w *wire2, n int) error {
			if n == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.encode(request...)})
			}
			return w.WriteContinuation(1, false, w.encode(fmt.Sprint("x-", n), strings.Repeat("v", 8000)))
		}},
		{name: "empty CONTINUATION", stat: "http2.inbound_empty_frames_flood", step: func(w *wire2, n int) error {
			if n == 0 {
				return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.encode(request...)})
			}
			return w.WriteContinuation(1, false, nil)
		}},
		{name: "empty DATA", stat: "http2.inbound_empty_frames_flood", step: func(w *wire2, n int) error {
			if n == 0 {
				return w.headers(1, false, request...)
			}
			return w.WriteData(1, false, nil)
		}},
		{name: "SETTINGS", stat: "http2.outbound_control_flood", step: func(w *wire2, _ int) error { return w.WriteSettings() }},
		{name: "PING", stat: "http2.outbound_control_flood", step: func(w *wire2, _ int) error { return w.WritePing(false, [8]byte{}) }},
		{name: "PRIORITY", stat: "http2.inbound_priority_frames_flood", step: func(w *wire2, n int) error {
			return w.WritePriority(stream(n), http2.PriorityParam{Weight: 1})
		}},
		{name: "WINDOW_UPDATE", stat: "http2.inbound_window_update_frames_flood", step: func(w *wire2, _ int) error { return w.WriteWindowUpdate(0, 1) }},
		{name: "HPACK bomb", stat: "http2.header_overflow", spares: true, step: func(w *wire2, n int) error {
			if n > 0 {
				return io.EOF
			}
			// One field that fills the table, and then a byte for each time that it is meant again.
			block := append([]byte{}, w.encode(append(request, "bomb", strings.Repeat("b", 4000))...)...)
			block = append(block, strings.Repeat(string([]byte{0x80 | 62}), 12_000)...)
			return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true})
		}},
	}
}

// Every attack ends the connection that it comes on, is counted, and costs neither memory nor the neighbours anything.
func TestHTTP2Floods(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/hang", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until the client is gone
		<-r.Context().Done()
	}), harness.WithHandler("/echo", echoHandler))
	weir := host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend)})
	neighbour := dial2(t, host, "127.0.0.1:8080")
	if err := neighbour.headers(1, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/echo"); err != nil {
		t.Fatal(err)
	}
	requests := 1
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			w := dial2(t, host, "127.0.0.1:8080")
			before := statOr0(weir, a.stat)
			if err := neighbour.SetDeadline(time.Now().Add(4 * harness.Patience)); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < 2_000_000; n++ {
				if a.step(w, n) != nil {
					break
				}
			}
			if a.spares {
				if r, err := w.reply(1); err == nil && r.reset == nil && r.status() != "431" {
					t.Errorf("the answer is %+v", r)
				}
			} else {
				w.ended(t)
			}
			harness.Eventually(t, a.stat+" moves", func() bool { return statOr0(weir, a.stat) > before })
			bounded(t, weir, 128<<20)
			requests++
			id := stream(requests)
			if err := neighbour.get(id, "/"); err != nil {
				t.Fatalf("the neighbour: %v", err)
			}
			if r := neighbour.mustReply(t, id); r.status() != "200" {
				t.Errorf("the neighbour got %+v", r)
			}
		})
	}
	// The request that the neighbour had begun before all that.
	if err := neighbour.WriteData(1, true, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if r := neighbour.mustReply(t, 1); string(r.body) != "still here" {
		t.Errorf("the neighbour's long request got %+v", r)
	}
	weir.AwaitStat("http.ingress.downstream_rq_active", func(n int) bool { return n == 0 })
	weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
}

// The table of a client's encoder that never shrinks to what the server allows is not used, and the connection ends.
func TestHTTP2TableSize(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	host.StartWeir(harness.WeirOptions{Config: reverseProxy(backend)})
	w := dial2(t, host, "127.0.0.1:8080")
	w.enc = hpack.NewEncoder(&w.block)
	w.enc.SetMaxDynamicTableSizeLimit(1 << 20)
	w.enc.SetMaxDynamicTableSize(1 << 20)
	if err := w.get(1, "/"); err != nil {
		t.Fatal(err)
	}
	if code := w.ended(t); code == nil || *code != http2.ErrCodeCompression {
		t.Errorf("the connection ended with %v, want COMPRESSION_ERROR", code)
	}
	if n := backend.Count(); n != 0 {
		t.Errorf("the backend got %d requests", n)
	}
}
