package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Opcodes of RFC 6455 section 5.2.
const (
	wsText   = 0x1
	wsBinary = 0x2
	wsClose  = 0x8
	wsPing   = 0x9
	wsPong   = 0xa
)

// wsStream speaks RFC 6455 on what carries it: a TCP connection, or a stream of HTTP/2.
type wsStream struct {
	in  *bufio.Reader
	out io.Writer
}

func newWebSocket(conn io.ReadWriter) *wsStream { return &wsStream{bufio.NewReader(conn), conn} }

// send writes one whole message, masked as a client's must be.
func (w *wsStream) send(op byte, payload []byte) error {
	frame := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, 0x80|byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 0x80|127), uint64(n))
	}
	var mask [4]byte
	if _, err := rand.Read(mask[:]); err != nil {
		return err
	}
	frame = append(frame, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	_, err := w.out.Write(frame)
	return err
}

// receive reads one message, which may come in several frames, or a control frame.
func (w *wsStream) receive() (op byte, payload []byte, err error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(w.in, head[:]); err != nil {
			return 0, nil, err
		}
		n := uint64(head[1] & 0x7f)
		switch n {
		case 126:
			var b [2]byte
			_, err = io.ReadFull(w.in, b[:])
			n = uint64(binary.BigEndian.Uint16(b[:]))
		case 127:
			var b [8]byte
			_, err = io.ReadFull(w.in, b[:])
			n = binary.BigEndian.Uint64(b[:])
		}
		if err != nil {
			return 0, nil, err
		}
		if head[1]&0x80 != 0 || n > 1<<24 {
			return 0, nil, fmt.Errorf("frame % x is masked or too long", head)
		}
		part := make([]byte, n)
		if _, err := io.ReadFull(w.in, part); err != nil {
			return 0, nil, err
		}
		if code := head[0] & 0xf; code != 0 {
			op = code
		}
		payload = append(payload, part...)
		if head[0]&0x80 != 0 {
			return op, payload, nil
		}
	}
}

// converse exchanges messages of all sizes with an echoing peer, and closes in order.
func (w *wsStream) converse(t *testing.T) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 300_000} {
		sent := bytes.Repeat([]byte{'a' + byte(size%26)}, size)
		if err := w.send(wsBinary, sent); err != nil {
			t.Fatalf("send %d bytes: %v", size, err)
		}
		if size == 0 {
			continue // the peer echoes what it reads, and that is nothing
		}
		var got []byte
		for len(got) < size { // the echo may split messages
			op, part, err := w.receive()
			if err != nil || op != wsBinary && op != wsText {
				t.Fatalf("echo of %d bytes: opcode %x after %d bytes, %v", size, op, len(got), err)
			}
			got = append(got, part...)
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("echo of %d bytes is another", size)
		}
	}
	if err := w.send(wsPing, []byte("are you there")); err != nil {
		t.Fatal(err)
	}
	if op, got, err := w.receive(); err != nil || op != wsPong || string(got) != "are you there" {
		t.Fatalf("pong: %x %q, %v", op, got, err)
	}
}

// close says goodbye and waits until the peer has ended the stream.
func (w *wsStream) close(t *testing.T) {
	t.Helper()
	if err := w.send(wsClose, []byte{0x3, 0xe8}); err != nil {
		t.Fatal(err)
	}
	for {
		op, _, err := w.receive()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || op != wsClose {
			t.Fatalf("after the close: opcode %x, %v", op, err)
		}
	}
}

// dialWebSocket upgrades an HTTP/1.1 connection.
func dialWebSocket(t *testing.T, conn io.ReadWriter, path string, more ...string) (*wsStream, *http.Response) {
	t.Helper()
	var nonce [16]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		t.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString(nonce[:])
	head := "GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nOrigin: http://x\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Version: 13\r\n" + strings.Join(append(more, ""), "\r\n") + "\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		if got, want := resp.Header.Get("Sec-Websocket-Accept"), base64.StdEncoding.EncodeToString(sum[:]); got != want {
			t.Errorf("sec-websocket-accept is %q, want %q", got, want)
		}
		if !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") || !strings.EqualFold(resp.Header.Get("Connection"), "upgrade") {
			t.Errorf("the answer is %v", resp.Header)
		}
	}
	return &wsStream{in, conn}, resp
}

// stream2 is a stream of HTTP/2 as bytes. Writes must fit into the peer's windows or wait until it opens them.
type stream2 struct {
	w      *wire2
	id     uint32
	window int64 // what may be sent on the stream
	rest   []byte
	ended  bool
}

// open2 opens a tunnel by extended CONNECT (RFC 8441), and returns what the server answered.
func open2(t *testing.T, w *wire2, id uint32, path string, more ...string) (*stream2, *reply) {
	t.Helper()
	err := w.headers(id, false, append([]string{
		":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "x", ":path", path,
		"origin", "http://x", "sec-websocket-version", "13",
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return w.tunnel(t, id)
}

// tunnel reads the answer to a CONNECT, and is the tunnel then.
func (w *wire2) tunnel(t *testing.T, id uint32) (*stream2, *reply) {
	t.Helper()
	window := int64(65535)
	if v, ok := w.settings[http2.SettingInitialWindowSize]; ok {
		window = int64(v)
	}
	s, r := &stream2{w: w, id: id, window: window}, &reply{}
	for r.head == nil {
		f, err := w.next()
		if err != nil {
			t.Fatalf("open a tunnel: %v", err)
		}
		if s.opens(f) || f.Header().StreamID != id {
			continue
		}
		if end, err := w.take(r, f); err != nil || end {
			s.ended = true
			break
		}
	}
	return s, r
}

// opens takes a WINDOW_UPDATE.
func (s *stream2) opens(f http2.Frame) bool {
	u, ok := f.(*http2.WindowUpdateFrame)
	if ok && u.StreamID == s.id {
		s.window += int64(u.Increment)
	}
	return ok
}

// frame handles the next frame of the connection.
func (s *stream2) frame() error {
	f, err := s.w.next()
	if err != nil || s.opens(f) || f.Header().StreamID != s.id {
		return err
	}
	r := &reply{head: map[string]string{}}
	s.ended, err = s.w.take(r, f)
	s.rest = append(s.rest, r.body...)
	if r.reset != nil && *r.reset != http2.ErrCodeNo {
		return fmt.Errorf("reset: %v", *r.reset)
	}
	return err
}

// Read implements io.Reader.
func (s *stream2) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		if err := s.frame(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write implements io.Writer.
func (s *stream2) Write(p []byte) (int, error) {
	for sent := 0; ; {
		n := min(int64(len(p)-sent), s.w.window, s.window, 16384)
		if n > 0 {
			if err := s.w.WriteData(s.id, false, p[sent:sent+int(n)]); err != nil {
				return sent, err
			}
			s.w.window -= n
			s.window -= n
			sent += int(n)
		}
		if sent == len(p) {
			return sent, nil
		}
		if n <= 0 {
			if err := s.frame(); err != nil {
				return sent, err
			}
		}
	}
}
