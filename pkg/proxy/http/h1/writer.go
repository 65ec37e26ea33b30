package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// inlineLimit is how many bytes of a request body are sent before the response is awaited; the rest has a goroutine of
// its own, since a peer may answer before it reads on.
const inlineLimit = 64 << 10

// chunkHeader is the space in bytes kept before the data of a chunk: up to 4 hex digits, as a chunk fits a block, and CRLF.
const chunkHeader = 6

// writer sends one message at a time through one pooled buffer, which holds the head and the first bytes of the body.
type writer struct {
	conn   net.Conn
	bufs   *Buffers
	format model.HeaderFormat
	// trailers are sent where the framing allows.
	trailers bool
	bodySent *atomic.Uint64
	tailSent *atomic.Uint64

	blk   *block
	b     []byte // not yet written
	names *message.Names
	frame framing
	left  int64 // of framedLength
	piped int   // body bytes of this message
	err   error // of the connection
}

// begin starts a message: its head is to be appended. names is nil unless its names are kept.
func (w *writer) begin(names *message.Names) head {
	if w.blk == nil {
		w.blk = w.bufs.get()
		w.b = w.blk.b[:0]
	}
	w.piped, w.names = 0, names
	return head{b: w.b, start: len(w.b), format: w.format, names: names}
}

// finish takes the finished head back.
func (w *writer) finish(h head) error {
	err := h.end()
	w.b = h.b
	return err
}

// flush sends what is buffered.
func (w *writer) flush() error {
	if w.err != nil {
		return w.err
	}
	if len(w.b) == 0 {
		return nil
	}
	_, err := w.conn.Write(w.b)
	if err != nil {
		w.err = err
	}
	w.b = w.blk.b[:0]
	return err
}

// release gives the buffer back; what was not flushed is dropped.
func (w *writer) release() {
	w.bufs.put(w.blk)
	w.blk, w.b, w.names = nil, nil, nil
}

// pump sends the body. It flushes before every read that would wait. With inline set it stops there, or after
// inlineLimit bytes, and done tells whether the message is complete. An error is the connection's when w.err is set, else
// the body's.
func (w *writer) pump(src message.Body, inline bool) (done bool, err error) {
	buffered, _ := src.(message.Buffered)
	for {
		ready := false
		if buffered != nil {
			n, whole := buffered.Buffered()
			ready = n > 0 || whole
		}
		if inline && w.piped >= inlineLimit {
			ready = false
		}
		if !ready {
			if err := w.flush(); err != nil {
				return false, err
			}
			if inline {
				return false, nil
			}
		}
		if !ready && w.frame == framedLength && w.left >= moveLimit {
			if moved, done, err := w.move(src); moved {
				if done || err != nil {
					return done, err
				}
				continue
			}
		}
		if done, err := w.step(src); done || err != nil {
			return done, err
		}
	}
}

// move passes payload on from socket to socket; false when it has to be read. Nothing is buffered.
func (w *writer) move(src message.Body) (moved, done bool, err error) {
	n, moved, err, failed := message.Move(src, w.conn)
	if !moved {
		return false, false, nil
	}
	w.piped += n
	w.bodySent.Add(uint64(n))
	w.left -= int64(n)
	switch {
	case failed != nil:
		w.err = failed
		return true, false, failed
	case err == io.EOF && w.left >= 0:
		return true, true, w.endBody(src)
	case err == nil && w.left < 0, err == io.EOF:
		return true, false, errBodyLong
	}
	return true, false, err
}

// step reads once and appends what came.
func (w *writer) step(src message.Body) (done bool, err error) {
	if cap(w.b)-len(w.b) < minRoom {
		if err := w.flush(); err != nil {
			return false, err
		}
	}
	at := len(w.b)
	room := w.b[at:cap(w.b)]
	switch w.frame {
	case framedChunks:
		room = room[chunkHeader : len(room)-2]
	case framedLength:
		if int64(len(room)) > w.left {
			room = room[:max(w.left, 1)]
		}
	}
	n, err := src.Read(room)
	if n > 0 {
		if err := w.frameData(at, n); err != nil {
			return false, err
		}
	}
	switch {
	case err == nil:
		return false, nil
	case err == io.EOF:
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return false, err
	}
	return true, w.endBody(src)
}

// frameData makes n bytes that were read behind at part of the message.
func (w *writer) frameData(at, n int) error {
	w.piped += n
	w.bodySent.Add(uint64(n))
	switch w.frame {
	case framedLength:
		if w.left -= int64(n); w.left < 0 {
			return errBodyLong
		}
		w.b = w.b[:at+n]
	case framedChunks:
		var digits [16]byte
		hex := strconv.AppendUint(digits[:0], uint64(n), 16)
		data := w.b[at+chunkHeader : at+chunkHeader+n]
		w.b = append(append(w.b, hex...), '\r', '\n')
		w.b = append(append(w.b, data...), '\r', '\n') // moves the data down by the digits that were not needed
	default:
		w.b = w.b[:at+n]
	}
	return nil
}

// endBody closes the message and flushes it.
func (w *writer) endBody(src message.Body) error {
	switch w.frame {
	case framedLength:
		if w.left > 0 {
			return errBodyShort
		}
	case framedChunks:
		if err := w.lastChunk(src.Trailers()); err != nil {
			return err
		}
	}
	return w.flush()
}

// lastChunk appends the zero chunk and the trailers.
func (w *writer) lastChunk(trailers *message.Headers) error {
	h := head{b: append(w.b, "0\r\n"...), format: w.format, names: w.names}
	h.start = len(h.b)
	if w.trailers && trailers != nil {
		h.fields(trailers, lengthField{}, false)
		if w.tailSent != nil {
			w.tailSent.Add(uint64(len(h.b) - h.start))
		}
	}
	err := h.end()
	w.b = h.b
	if err != nil {
		return fmt.Errorf("send trailers: %w", err)
	}
	return nil
}
