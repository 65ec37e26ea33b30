package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weir-proxy/weir/test/harness"
)

// wire2 is one end of an HTTP/2 connection, frame by frame: a client that may do what no library would, or a server. It is
// used by one goroutine at a time.
type wire2 struct {
	net.Conn
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	dec   *hpack.Decoder
	// settings are those of the peer.
	settings map[http2.SettingID]uint32
	// window is how many bytes of DATA the peer takes on the connection. Whoever writes DATA counts it down, if it matters.
	window int64
	// goAway is the code of the last GOAWAY.
	goAway *http2.ErrCode
	// quiet answers neither SETTINGS nor PING.
	quiet bool
}

func newWire2(conn net.Conn) *wire2 {
	w := &wire2{Conn: conn, Framer: http2.NewFramer(conn, conn), dec: hpack.NewDecoder(4096, nil), settings: map[http2.SettingID]uint32{}, window: 65535}
	w.AllowIllegalWrites, w.AllowIllegalReads = true, true
	w.enc = hpack.NewEncoder(&w.block)
	return w
}

// dial2 connects a client to addr and waits for the server's settings.
func dial2(t *testing.T, host *harness.Host, addr string, settings ...http2.Setting) *wire2 {
	t.Helper()
	conn := host.MustDial(addr)
	if err := conn.SetDeadline(time.Now().Add(2 * harness.Patience)); err != nil {
		t.Fatal(err)
	}
	w := newWire2(conn)
	if err := w.hello(settings...); err != nil {
		t.Fatalf("begin HTTP/2 with %s: %v", addr, err)
	}
	return w
}

// hello is what a client says first; it returns when the server has said it too.
func (w *wire2) hello(settings ...http2.Setting) error {
	if _, err := io.WriteString(w.Conn, http2.ClientPreface); err != nil {
		return err
	}
	if err := w.WriteSettings(settings...); err != nil {
		return err
	}
	f, err := w.next()
	if err != nil {
		return err
	}
	if _, ok := f.(*http2.SettingsFrame); !ok {
		return fmt.Errorf("the first frame is %v", f.Header())
	}
	return nil
}

// next reads a frame. SETTINGS and PING are answered.
func (w *wire2) next() (http2.Frame, error) {
	f, err := w.ReadFrame()
	if err != nil {
		return nil, err
	}
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			break
		}
		_ = f.ForeachSetting(func(s http2.Setting) error {
			w.settings[s.ID] = s.Val
			return nil
		})
		if !w.quiet {
			_ = w.WriteSettingsAck() // what cannot be written shows in what is read
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			w.window += int64(f.Increment)
		}
	case *http2.GoAwayFrame:
		code := f.ErrCode
		w.goAway = &code
	case *http2.PingFrame:
		if !f.IsAck() && !w.quiet {
			_ = w.WritePing(true, f.Data)
		}
	}
	return f, nil
}

// encode makes a header block of names and values in turn.
func (w *wire2) encode(fields ...string) []byte {
	w.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = w.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // to memory
	}
	return w.block.Bytes()
}

// headers sends a whole header block.
func (w *wire2) headers(stream uint32, end bool, fields ...string) error {
	return w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: w.encode(fields...), EndStream: end, EndHeaders: true})
}

// get sends a request without body.
func (w *wire2) get(stream uint32, path string, more ...string) error {
	return w.headers(stream, true, append([]string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", path}, more...)...)
}

// stream is the id of the n-th stream of a client.
func stream(n int) uint32 { return uint32(2*n + 1) }

// reply is what came on one stream.
type reply struct {
	// head and trailers are the fields of the blocks that came; interim those of 1xx before.
	head, trailers map[string]string
	interim        []map[string]string
	body           []byte
	// reset is the error of RST_STREAM.
	reset *http2.ErrCode
}

func (r *reply) status() string { return r.head[":status"] }

var errGoAway = errors.New("GOAWAY")

// reply reads until the stream has ended. Windows are opened as data comes.
func (w *wire2) reply(stream uint32) (*reply, error) {
	r := &reply{}
	for {
		f, err := w.next()
		if err != nil {
			return r, err
		}
		if g, ok := f.(*http2.GoAwayFrame); ok && g.ErrCode != http2.ErrCodeNo {
			return r, fmt.Errorf("%w: %v %q", errGoAway, g.ErrCode, g.DebugData())
		}
		if h, ok := f.(*http2.HeadersFrame); ok && h.StreamID != stream {
			if _, err := w.decode(h); err != nil { // the table depends on every block
				return r, err
			}
		}
		if f.Header().StreamID != stream {
			continue
		}
		if end, err := w.take(r, f); end || err != nil {
			return r, err
		}
	}
}

// take adds a frame to a reply and tells whether it was the last one.
func (w *wire2) take(r *reply, f http2.Frame) (end bool, err error) {
	switch f := f.(type) {
	case *http2.HeadersFrame:
		fields, err := w.decode(f)
		switch {
		case err != nil:
			return false, err
		case r.head != nil:
			r.trailers = fields
		case strings.HasPrefix(fields[":status"], "1"):
			r.interim = append(r.interim, fields)
		default:
			r.head = fields
		}
		return f.StreamEnded(), nil
	case *http2.DataFrame:
		r.body = append(r.body, f.Data()...)
		if n := f.Header().Length; n > 0 {
			if err := w.WriteWindowUpdate(0, n); err != nil {
				return false, err
			}
			if !f.StreamEnded() {
				err = w.WriteWindowUpdate(f.StreamID, n)
			}
		}
		return f.StreamEnded(), err
	case *http2.RSTStreamFrame:
		r.reset = &f.ErrCode
		return true, nil
	}
	return false, nil
}

// decode reads a header block, with the CONTINUATION frames that complete it.
func (w *wire2) decode(f *http2.HeadersFrame) (map[string]string, error) {
	fields := map[string]string{}
	w.dec.SetEmitFunc(func(h hpack.HeaderField) {
		if old, twice := fields[h.Name]; twice {
			h.Value = old + "," + h.Value
		}
		fields[h.Name] = h.Value
	})
	_, err := w.dec.Write(f.HeaderBlockFragment())
	for whole := f.HeadersEnded(); !whole && err == nil; {
		var next http2.Frame
		if next, err = w.ReadFrame(); err == nil {
			c, ok := next.(*http2.ContinuationFrame)
			if !ok {
				return nil, fmt.Errorf("%v within a header block", next.Header())
			}
			whole = c.HeadersEnded()
			_, err = w.dec.Write(c.HeaderBlockFragment())
		}
	}
	if err == nil {
		err = w.dec.Close()
	}
	return fields, err
}

// mustReply is reply for a stream that must end in order.
func (w *wire2) mustReply(t *testing.T, stream uint32) *reply {
	t.Helper()
	r, err := w.reply(stream)
	if err != nil {
		t.Fatalf("stream %d: %v", stream, err)
	}
	return r
}

// ended reads until the connection is over, and returns the code of the GOAWAY that came before, if one did.
func (w *wire2) ended(t *testing.T) *http2.ErrCode {
	t.Helper()
	for {
		_, err := w.next()
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout():
			t.Fatal("the connection lives on")
		case err != nil:
			return w.goAway
		}
	}
}
