package grpcweb

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/grpcstat"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// errBadSize tells that the base64 of a request ended within a quantum of four letters.
var errBadSize = errors.New("decode request body: base64 ends in the middle")

// chunk is how much of a body is translated at once, in bytes: whole quanta of base64 both ways.
const chunk = 12 << 10

// quantum is the number of letters that stand for three bytes.
const quantum = 4

// textBody decodes the base64 of a request. It may be read on another goroutine than the stream's.
type textBody struct {
	message.Body
	in   []byte // encoded, less than a quantum between reads
	out  []byte // decoded, not yet read
	done bool
	bad  atomic.Pointer[error]
}

var _ message.Buffered = (*textBody)(nil)

// Read implements message.Body.
func (b *textBody) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if bad := b.bad.Load(); bad != nil {
			return 0, *bad
		}
		if b.done {
			return 0, io.EOF
		}
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	if len(b.out) == 0 && b.done && b.bad.Load() == nil {
		return n, io.EOF
	}
	return n, nil
}

// fill decodes what comes next.
func (b *textBody) fill() error {
	if b.in == nil {
		b.in = make([]byte, 0, chunk)
	}
	n, err := b.Body.Read(b.in[len(b.in):cap(b.in)])
	b.in = b.in[:len(b.in)+n]
	if err != nil && err != io.EOF {
		return err
	}
	b.done = err == io.EOF
	whole := len(b.in) / quantum * quantum
	decoded, bad := decodeQuanta(make([]byte, 0, whole), b.in[:whole])
	b.out, b.in = decoded, b.in[:copy(b.in, b.in[whole:])]
	if bad == nil && b.done && len(b.in) > 0 {
		bad = errBadSize
	}
	if bad != nil {
		b.bad.Store(&bad)
	}
	return nil
}

// decodeQuanta decodes whole quanta, any of which may be padded: each message may have been encoded by itself.
func decodeQuanta(dst, src []byte) ([]byte, error) {
	for len(src) > 0 {
		end := len(src)
		if i := bytes.IndexByte(src, '='); i >= 0 {
			end = (i/quantum + 1) * quantum
		}
		if i := bytes.IndexAny(src[:end], "\r\n"); i >= 0 { // the library would pass over them
			return dst, fmt.Errorf("decode request body: %q is not base64", src[i])
		}
		n, err := base64.StdEncoding.Strict().Decode(dst[len(dst):cap(dst)], src[:end])
		dst = dst[:len(dst)+n]
		if err != nil {
			return dst, fmt.Errorf("decode request body: %w", err)
		}
		src = src[end:]
	}
	return dst, nil
}

// Buffered implements message.Buffered.
func (b *textBody) Buffered() (int, bool) { return len(b.out), b.done && b.bad.Load() == nil }

// framed is a response body with its trailers as the last frame. Its text form encodes each gRPC message by itself, so that
// the client has it whole when it has come.
type framed struct {
	filter.Wrapped
	text bool
	call grpcstat.Call
	in   []byte // scratch of the text form
	made []byte // translated
	out  []byte // the part of it that was not yet read
	done bool
	frames
}

func newFramed(src message.Body, text bool, call grpcstat.Call) *framed {
	return &framed{Wrapped: filter.Wrapped{Body: src}, text: text, call: call}
}

var _ message.Buffered = (*framed)(nil)

// Read implements message.Body.
func (b *framed) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.done {
			return 0, io.EOF
		}
		n, err := b.next(p)
		if n > 0 || err != nil {
			return n, err
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	if len(b.out) == 0 && b.done {
		return n, io.EOF
	}
	return n, nil
}

// next reads on: the binary form into p, the text form into out, and the trailers into out.
func (b *framed) next(p []byte) (n int, err error) {
	if b.text {
		if b.in == nil {
			b.in = make([]byte, chunk)
		}
		n, err = b.Body.Read(b.in)
		b.made = b.encode(b.made[:0], b.in[:n])
		b.out, n = b.made, 0
	} else {
		n, err = b.Body.Read(p)
	}
	if err != io.EOF {
		return n, err
	}
	b.done = true
	if b.text {
		b.made = b.flush(b.made)
	}
	b.trailers()
	b.out = b.made
	return n, nil
}

// trailerFrame marks the frame that holds the trailers.
const trailerFrame = 0x80

// trailers appends the frame of the trailers, if there are any.
func (b *framed) trailers() {
	t := b.Body.Trailers()
	if t == nil {
		return
	}
	b.call.Charge(t.Get(message.GRPCStatus))
	frame := make([]byte, 5, 128)
	frame[0] = trailerFrame
	for h := range t.All() {
		frame = append(frame, strings.ToLower(h.Name)...)
		frame = append(frame, ':')
		frame = append(frame, h.Value...)
		frame = append(frame, "\r\n"...)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5))
	if b.text {
		b.made = base64.StdEncoding.AppendEncode(b.made, frame)
		return
	}
	b.made = frame
}

// Trailers implements message.Body: they are in the body now.
func (b *framed) Trailers() *message.Headers { return nil }

// Buffered implements message.Buffered.
func (b *framed) Buffered() (int, bool) {
	if len(b.out) > 0 || b.done {
		return len(b.out), b.done
	}
	if b.text {
		return 0, false
	}
	n, _ := b.Wrapped.Buffered()
	return n, false
}

// frames encodes a stream of gRPC frames in base64 as it comes, and pads at the end of each.
type frames struct {
	head [5]byte // of the present frame, as far as it is known
	have int
	left uint64 // payload of the present frame that is to come
	rest [2]byte
	held int // how much of rest waits for a third byte
}

func (f *frames) encode(dst, src []byte) []byte {
	for len(src) > 0 {
		var n int
		if f.have < len(f.head) {
			n = copy(f.head[f.have:], src)
			if f.have += n; f.have == len(f.head) {
				f.left = uint64(binary.BigEndian.Uint32(f.head[1:]))
			}
		} else {
			n = int(min(uint64(len(src)), f.left))
			f.left -= uint64(n)
		}
		dst = f.add(dst, src[:n])
		src = src[n:]
		if f.have == len(f.head) && f.left == 0 {
			dst = f.flush(dst)
			f.have = 0
		}
	}
	return dst
}

// add encodes as many whole groups of three bytes as there are.
func (f *frames) add(dst, src []byte) []byte {
	for f.held > 0 && len(src) > 0 {
		if f.held < len(f.rest) {
			f.rest[f.held] = src[0]
			f.held++
			src = src[1:]
			continue
		}
		dst = base64.StdEncoding.AppendEncode(dst, []byte{f.rest[0], f.rest[1], src[0]})
		f.held, src = 0, src[1:]
	}
	whole := len(src) / 3 * 3
	dst = base64.StdEncoding.AppendEncode(dst, src[:whole])
	if f.held == 0 {
		f.held = copy(f.rest[:], src[whole:])
	}
	return dst
}

// flush encodes what waits, padded.
func (f *frames) flush(dst []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(dst, f.rest[:f.held])
	f.held = 0
	return dst
}
