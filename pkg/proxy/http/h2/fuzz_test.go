package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/test/await"
)

// scripted is a connection that reads given bytes and then their end, and takes all that is written.
type scripted struct {
	net.Conn
	in  *bytes.Reader
	end chan bool
}

func (c *scripted) Read(p []byte) (int, error) {
	if len(p) > 7 {
		p = p[:7+len(p)%90] // cuts frames at odd places
	}
	return c.in.Read(p)
}

func (c *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (c *scripted) Close() error                     { return nil }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

// frames makes bytes of frames, for the corpus.
func frames(do func(fr *http2.Framer, block func(fields ...string) []byte)) []byte {
	var out, b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	fr := http2.NewFramer(&out, nil)
	fr.AllowIllegalWrites = true
	do(fr, func(fields ...string) []byte {
		b.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return bytes.Clone(b.Bytes())
	})
	return out.Bytes()
}

func seeds() [][]byte {
	return [][]byte{
		frames(func(fr *http2.Framer, block func(...string) []byte) {
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(with(":method", "POST", "cookie", "a", "cookie", "b")...), EndHeaders: true})
			_ = fr.WriteDataPadded(1, false, []byte("some payload"), make([]byte, 10))
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block("x-end", "1"), EndHeaders: true, EndStream: true})
			_ = fr.WriteWindowUpdate(1, 100)
			_ = fr.WritePing(false, [8]byte{})
			_ = fr.WriteGoAway(0, http2.ErrCodeNo, nil)
		}),
		frames(func(fr *http2.Framer, block func(...string) []byte) {
			_ = fr.WriteSettings()
			_ = fr.WriteSettingsAck()
			b := block(with()...)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:3], EndStream: true, Priority: http2.PriorityParam{StreamDep: 5}})
			_ = fr.WriteContinuation(1, false, b[3:5])
			_ = fr.WriteContinuation(1, true, b[5:])
			_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(with(":method", "CONNECT", ":protocol", "websocket")...), EndHeaders: true})
			_ = fr.WriteData(3, true, []byte("x"))
			_ = fr.WritePriority(7, http2.PriorityParam{StreamDep: 1})
			_ = fr.WriteRawFrame(0x4d, 4, 1, []byte("meta"))
		}),
	}
}

// FuzzServer feeds a server arbitrary frames: it never panics, and ends when its input does.
func FuzzServer(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, in []byte, alone bool) {
		c := &scripted{in: bytes.NewReader(append([]byte(preface), in...))}
		srv := NewServer(c, ServerOptions{HTTP2: model.HTTP2Options{StreamErrorOnInvalid: alone, AllowConnect: true, InitialStreamWindowSize: 100}})
		h := &handler{serve: func(s codec.ServerStream) {
			r := &message.Response{Status: 200, ContentLength: -1, Body: s.Request().Body}
			_ = s.WriteResponse(r)
		}}
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(context.Background(), h) }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("the server does not end")
		}
		if srv.stats.StreamsActive.Value() != 0 || srv.workers.busy != 0 {
			t.Errorf("%d streams active, %d being served", srv.stats.StreamsActive.Value(), srv.workers.busy)
		}
	})
}

// FuzzClient feeds a client with two exchanges under way arbitrary frames.
func FuzzClient(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, true)
	}
	f.Add(frames(func(fr *http2.Framer, block func(...string) []byte) {
		_ = fr.WriteSettings()
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "103", "link", "x"), EndHeaders: true})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status", "200", "content-length", "4"), EndHeaders: true})
		_ = fr.WriteData(1, true, []byte("four"))
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(":status", "200"), EndHeaders: true})
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block("grpc-status", "0"), EndHeaders: true, EndStream: true})
	}), false)
	f.Fuzz(func(t *testing.T, in []byte, alone bool) {
		gone := make(chan bool)
		c := &scripted{in: bytes.NewReader(in), end: make(chan bool)}
		cc, err := NewClientConn(&gated{scripted: c}, ClientOptions{HTTP2: model.HTTP2Options{StreamErrorOnInvalid: alone}, Gone: func() { close(gone) }})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 2)
		for range 2 {
			st, err := cc.NewStream()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				var resp message.Response
				err := st.RoundTrip(&newExchange().req, &resp, func(*message.Response) {})
				if err == nil && resp.Body != nil {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				st.Close()
				done <- err
			}()
		}
		await.True(t, "both are sent", func() bool {
			cc.mu.Lock()
			defer cc.mu.Unlock()
			return cc.lastID == 3
		})
		close(c.end)
		for range 2 {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("an exchange does not end")
			}
		}
		cc.Close()
		<-gone
	})
}

// gated reads nothing before the gate is open.
type gated struct{ *scripted }

func (c *gated) Read(p []byte) (int, error) {
	<-c.end
	return c.scripted.Read(p)
}

// FuzzFrames compares how frames are cut with the framer of x/net.
func FuzzFrames(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		srv := NewServer(&scripted{in: bytes.NewReader(in)}, ServerOptions{})
		for {
			h, payload, err := srv.rd.frame()
			want, werr := http2.ReadFrameHeader(bytes.NewReader(in))
			if err != nil {
				if _, bad := errors.AsType[*connError](err); !bad && werr == nil && len(in) >= frameHeaderLen+int(want.Length) {
					t.Fatalf("x/net has %v, we %v", want, err)
				}
				return
			}
			if werr != nil || int(want.Length) != h.length || uint8(want.Type) != uint8(h.typ) || uint8(want.Flags) != h.flags || want.StreamID != h.stream {
				t.Fatalf("x/net has %v, %v, we %v", want, werr, h)
			}
			in = in[frameHeaderLen:]
			if !bytes.Equal(payload, in[:h.length]) {
				t.Fatalf("payload %x, not %x", payload, in[:h.length])
			}
			in = in[h.length:]
		}
	})
}
