package h2

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// wire speaks frames to a server or client under test.
type wire struct {
	*http2.Framer
	t   testing.TB
	c   net.Conn
	buf bytes.Buffer
	enc *hpack.Encoder
}

func newWire(t testing.TB, c net.Conn) *wire {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	w := &wire{Framer: http2.NewFramer(c, c), t: t, c: c}
	w.enc = hpack.NewEncoder(&w.buf)
	w.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	w.AllowIllegalWrites = true
	return w
}

// greet sends the preface and SETTINGS.
func greet(t testing.TB, c net.Conn, settings ...http2.Setting) *wire {
	t.Helper()
	w := newWire(t, c)
	if _, err := io.WriteString(c, preface); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return w
}

// block encodes fields given as name and value by turns.
func (w *wire) block(fields ...string) []byte {
	w.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := w.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			w.t.Fatal(err)
		}
	}
	return bytes.Clone(w.buf.Bytes())
}

// open sends a HEADERS frame.
func (w *wire) open(id uint32, end bool, fields ...string) {
	w.t.Helper()
	w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(fields...), EndStream: end, EndHeaders: true}))
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// until reads frames until match takes one; it fails at the end of the connection.
func (w *wire) until(what string, match func(http2.Frame) bool) {
	w.t.Helper()
	for {
		f, err := w.ReadFrame()
		if err != nil {
			w.t.Fatalf("wait for %s: %v", what, err)
		}
		if match(f) {
			return
		}
	}
}

// verdict reads until the server resets stream 1, goes away, answers, or closes.
func (w *wire) verdict() string {
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			return "reset " + f.ErrCode.String()
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		case *http2.MetaHeadersFrame:
			return "status " + f.PseudoValue("status")
		}
	}
}

// echo answers with the request's body, after having read all of it.
func echo(s codec.ServerStream) {
	r := &message.Response{Status: 200, ContentLength: -1}
	if b := s.Request().Body; b != nil {
		all, err := io.ReadAll(b)
		if err != nil {
			s.Reset(err)
			return
		}
		r.Body = message.NewBytes(all)
	}
	_ = s.WriteResponse(r)
}

// with is the fields of a plain request, some replaced or added; a value of "-" takes one away.
func with(pairs ...string) []string {
	out := append([]string{}, get...)
next:
	for i := 0; i < len(pairs); i += 2 {
		for j := 0; j < len(out); j += 2 {
			if out[j] == pairs[i] && strings.HasPrefix(pairs[i], ":") {
				if out[j+1] = pairs[i+1]; pairs[i+1] == "-" {
					out = append(out[:j], out[j+2:]...)
				}
				continue next
			}
		}
		out = append(out, pairs[i], pairs[i+1])
	}
	return out
}

func TestMalformedRequests(t *testing.T) {
	const bad = "reset PROTOCOL_ERROR"
	cases := []struct {
		name   string
		fields []string
		want   string
	}{
		{"plain", with(), "status 200"},
		{"no method", with(":method", "-"), bad},
		{"empty method", with(":method", ""), bad},
		{"method with a space", with(":method", "GE T"), bad},
		{"no scheme", with(":scheme", "-"), bad},
		{"no path", with(":path", "-"), bad},
		{"empty path", with(":path", ""), bad},
		{"path without slash", with(":path", "x"), bad},
		{"path with a space", with(":path", "/a b"), bad},
		{"asterisk for GET", with(":path", "*"), bad},
		{"asterisk for OPTIONS", with(":path", "*", ":method", "OPTIONS"), "status 200"},
		{"unknown pseudo-header", with(":x", "y"), bad},
		{"status in a request", with(":status", "200"), bad},
		{"pseudo-header behind others", append(append([]string{"a", "b"}, get...), "c", "d"), bad},
		{"two paths", append(with(), ":path", "/b"), bad},
		{"upper case name", with("Accept", "x"), bad},
		{"space in name", with("a b", "x"), bad},
		{"empty name", with("", "x"), bad},
		{"colon in name", with("a:b", "x"), bad},
		{"line feed in value", with("a", "x\ny"), bad},
		{"NUL in value", with("a", "x\x00"), bad},
		{"NUL in path", with(":path", "/\x00"), bad},
		{"connection", with("connection", "close"), bad},
		{"keep-alive", with("keep-alive", "1"), bad},
		{"proxy-connection", with("proxy-connection", "close"), bad},
		{"transfer-encoding", with("transfer-encoding", "chunked"), bad},
		{"upgrade", with("upgrade", "h2c"), bad},
		{"te gzip", with("te", "gzip"), bad},
		{"te trailers", with("te", "trailers"), "status 200"},
		{"content-length without payload", with("content-length", "5"), bad},
		{"content-length of words", with("content-length", "five"), bad},
		{"two content-lengths", with("content-length", "0", "content-length", "0"), bad},
		{"content-length 0", with("content-length", "0"), "status 200"},
		{"two hosts", with("host", "a", "host", "b"), bad},
		{"host alone", with(":authority", "-", "host", "a"), "status 200"},
		{"authority with a slash", with(":authority", "a/b"), "status 400"},
		{"authority with userinfo", with(":authority", "u@a"), "status 400"},
		{"no authority", with(":authority", "-"), "status 400"},
		{"scheme ftp", with(":scheme", "ftp"), "status 400"},
		{"connect with a path", with(":method", "CONNECT"), bad},
		{"connect without authority", []string{":method", "CONNECT"}, bad},
		{"protocol that was not offered", with(":method", "CONNECT", ":protocol", "websocket"), bad},
		{"unknown expectation", with("expect", "wonders"), "status 417"},
		{"white space around a value", with("a", " b "), "status 200"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, alone := range []bool{true, false} {
				nc, srv, _ := serve(t, ServerOptions{HTTP2: model.HTTP2Options{StreamErrorOnInvalid: alone}}, &handler{serve: echo})
				w := greet(t, nc)
				w.open(1, true, c.fields...)
				want := c.want
				if !alone {
					want = strings.Replace(want, "reset", "goaway", 1)
				}
				if got := w.verdict(); got != want {
					t.Errorf("stream errors %v: %s, want %s", alone, got, want)
				}
				if n := srv.stats.RxMessagingError.Value(); (n == 1) != (c.want == bad) {
					t.Errorf("rx_messaging_error %d", n)
				}
			}
		})
	}
}

func TestViolationsOfTheConnection(t *testing.T) {
	cases := []struct {
		name string
		send func(w *wire)
		want string
	}{
		{"DATA on stream 0", func(w *wire) { w.must(w.WriteData(0, true, []byte("x"))) }, "goaway PROTOCOL_ERROR"},
		{"DATA on an idle stream", func(w *wire) { w.must(w.WriteData(1, true, []byte("x"))) }, "goaway PROTOCOL_ERROR"},
		{"even stream", func(w *wire) { w.open(2, true, get...) }, "goaway PROTOCOL_ERROR"},
		{"window of nothing", func(w *wire) { w.must(w.WriteWindowUpdate(0, 0)) }, "goaway PROTOCOL_ERROR"},
		{"window too large", func(w *wire) {
			w.must(w.WriteWindowUpdate(0, 1<<31-1))
		}, "goaway FLOW_CONTROL_ERROR"},
		{"continuation alone", func(w *wire) { w.must(w.WriteContinuation(1, true, nil)) }, "goaway PROTOCOL_ERROR"},
		{"frame within a block", func(w *wire) {
			w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(get...)}))
			w.must(w.WritePing(false, [8]byte{}))
		}, "goaway PROTOCOL_ERROR"},
		{"bad compression", func(w *wire) {
			w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x80}, EndHeaders: true}))
		}, "goaway COMPRESSION_ERROR"},
		{"push promise", func(w *wire) {
			w.must(w.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
		}, "goaway PROTOCOL_ERROR"},
		{"large frame", func(w *wire) {
			w.must(w.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxPayload+1)))
		}, "goaway FRAME_SIZE_ERROR"},
		{"settings of odd size", func(w *wire) { w.must(w.WriteRawFrame(http2.FrameSettings, 0, 0, make([]byte, 5))) }, "goaway FRAME_SIZE_ERROR"},
		{"push settings", func(w *wire) {
			w.must(w.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}))
		}, "goaway PROTOCOL_ERROR"},
		{"window settings", func(w *wire) {
			w.must(w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}, "goaway FLOW_CONTROL_ERROR"},
		{"frame size settings", func(w *wire) {
			w.must(w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}))
		}, "goaway PROTOCOL_ERROR"},
		{"reset of an idle stream", func(w *wire) { w.must(w.WriteRSTStream(1, http2.ErrCodeCancel)) }, "goaway PROTOCOL_ERROR"},
		{"stream that depends on itself", func(w *wire) {
			w.must(w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(get...), EndHeaders: true, Priority: http2.PriorityParam{StreamDep: 1}}))
		}, "reset PROTOCOL_ERROR"},
		{"trailers that do not end", func(w *wire) {
			w.open(1, false, with(":method", "POST")...)
			w.open(1, false, "a", "b")
		}, "goaway PROTOCOL_ERROR"},
		{"pseudo-header in trailers", func(w *wire) {
			w.open(1, false, with(":method", "POST")...)
			w.open(1, true, ":path", "/b")
		}, "goaway PROTOCOL_ERROR"},
		{"less payload than announced", func(w *wire) {
			w.open(1, false, with(":method", "POST", "content-length", "5")...)
			w.must(w.WriteData(1, true, []byte("abc")))
		}, "goaway PROTOCOL_ERROR"},
		{"more payload than announced", func(w *wire) {
			w.open(1, false, with(":method", "POST", "content-length", "5")...)
			w.must(w.WriteData(1, false, []byte("abcdef")))
		}, "goaway PROTOCOL_ERROR"},
		{"stream beyond the window", func(w *wire) {
			w.open(1, false, with(":method", "POST", "content-length", "500000")...)
			for range 5 { // the handler reads nothing before
				w.must(w.WriteData(1, false, make([]byte, maxPayload)))
			}
		}, "reset FLOW_CONTROL_ERROR"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stop := make(chan bool)
			h := &handler{serve: func(s codec.ServerStream) { <-stop }}
			nc, _, _ := serve(t, ServerOptions{HTTP2: model.HTTP2Options{InitialStreamWindowSize: 65535}}, h)
			w := greet(t, nc)
			c.send(w)
			got := w.verdict()
			close(stop)
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestBadPreface(t *testing.T) {
	nc, _, ended := serve(t, ServerOptions{}, &handler{serve: echo})
	w := newWire(t, nc)
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := w.verdict(); got != "goaway PROTOCOL_ERROR" {
		t.Errorf("%s", got)
	}
	nc.Close()
	if err := <-ended; err == nil {
		t.Error("Serve returned no error")
	}
}

func TestCookiesAreJoined(t *testing.T) {
	got := make(chan []string, 1)
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		var out []string
		for _, f := range list(&s.Request().Headers) {
			out = append(out, strings.Clone(f))
		}
		got <- out
		echo(s)
	}})
	w := greet(t, nc)
	w.open(1, true, with("b", "1", "cookie", "x=1", "a", "2", "cookie", "y=2", "cookie", "z=3")...)
	w.verdict()
	if s := strings.Join(<-got, "|"); s != "b: 1|cookie: x=1; y=2; z=3|a: 2" {
		t.Errorf("fields %s", s)
	}
}

func TestHeadsThatAreTooLarge(t *testing.T) {
	nc, srv, _ := serve(t, ServerOptions{MaxHeadersBytes: 1000}, &handler{serve: echo})
	w := greet(t, nc)
	w.open(1, true, with("a", strings.Repeat("x", 2000), "b", "c")...)
	if got := w.verdict(); got != "status 431" {
		t.Errorf("%s", got)
	}
	w.open(3, true, with("b", "c")...) // the field table is still in order
	if got := w.verdict(); got != "status 200" {
		t.Errorf("after it %s", got)
	}
	if n := srv.stats.HeaderOverflow.Value(); n != 1 {
		t.Errorf("header_overflow %d", n)
	}
}

func TestExpectContinue(t *testing.T) {
	nc, _, _ := serve(t, ServerOptions{}, &handler{serve: func(s codec.ServerStream) {
		if s.Request().Headers.Has(message.Expect) {
			t.Error("expect is still there")
		}
		echo(s)
	}})
	w := greet(t, nc)
	w.open(1, false, with(":method", "POST", "expect", "100-continue")...)
	if got := w.verdict(); got != "status 100" {
		t.Fatalf("%s", got)
	}
	w.must(w.WriteData(1, true, []byte("x")))
	if got := w.verdict(); got != "status 200" {
		t.Errorf("%s", got)
	}
}
