package h2

import (
	"io"
	"net"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// maxDiscard bounds in bytes what is read during a lingering close.
const maxDiscard = 1 << 20

// reader cuts frames out of what the connection receives. It holds a buffer only while there is something to read.
type reader struct {
	c       *link
	nc      net.Conn
	lent    lentReader
	wrapped bool
	buf     *[readSize]byte
	r, w    int
	first   [1]byte
}

var _ conn.Lender = (*reader)(nil)

func (x *reader) init(c *link) {
	x.c, x.nc = c, c.nc
	x.lent, _ = c.nc.(lentReader)
	_, x.wrapped = c.nc.(wrapper)
}

// frame waits for the next frame. Its payload is valid until the next call. It tells the connection when it has to wait.
func (x *reader) frame() (h frameHeader, payload []byte, err error) {
	for {
		if n := x.w - x.r; n >= frameHeaderLen {
			h = parseFrameHeader(x.buf[x.r:x.w])
			if h.length > maxPayload {
				return h, nil, connErrorf(codeFrameSize, "frame of %d bytes", h.length)
			}
			if n >= frameHeaderLen+h.length {
				at := x.r + frameHeaderLen
				x.r = at + h.length
				return h, x.buf[at:x.r], nil
			}
		}
		x.c.flushForReader()
		if err := x.fill(); err != nil {
			if err == io.EOF && x.r < x.w {
				err = io.ErrUnexpectedEOF
			}
			return h, nil, err
		}
	}
}

// bytes waits for the next n bytes, which are valid until the next call.
func (x *reader) bytes(n int) ([]byte, error) {
	for x.w-x.r < n {
		if err := x.fill(); err != nil {
			return nil, err
		}
	}
	x.r += n
	return x.buf[x.r-n : x.r], nil
}

// fill reads once behind the unread bytes. It returns nil when at least one byte came.
func (x *reader) fill() error {
	var n int
	var err error
	switch {
	case x.lent != nil:
		n, err = x.lent.ReadLent(x)
	case x.wrapped && x.r == x.w:
		// TLS hands out the first byte of a record and keeps the rest for the read that follows.
		x.release()
		if n, err = x.nc.Read(x.first[:]); n == 1 {
			x.Lend()[0] = x.first[0]
		}
	default:
		n, err = x.nc.Read(x.Lend())
	}
	x.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Lend implements conn.Lender.
func (x *reader) Lend() []byte {
	switch {
	case x.buf == nil:
		x.buf = x.c.shared.reads.Get().(*[readSize]byte)
		x.r, x.w = 0, 0
	case x.r == x.w:
		x.r, x.w = 0, 0
	case len(x.buf)-x.r < frameHeaderLen+maxPayload:
		x.w = copy(x.buf[:], x.buf[x.r:x.w])
		x.r = 0
	}
	return x.buf[x.w:]
}

// TakeBack implements conn.Lender.
func (x *reader) TakeBack() {
	if x.r == x.w {
		x.release()
	}
}

func (x *reader) release() {
	if x.buf != nil {
		x.c.shared.reads.Put(x.buf)
		x.buf, x.r, x.w = nil, 0, 0
	}
}

// drain reads until the peer closes, the deadline passes, or enough was read.
func (x *reader) drain() {
	for n := 0; n < maxDiscard; {
		x.r = x.w
		if x.fill() != nil {
			return
		}
		n += x.w - x.r
	}
}
