package h1

import (
	"bytes"
	"io"
	"net"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
)

// minRoom is the least free space in bytes that is worth a read.
const minRoom = 2 << 10

// maxLeadingLines is how many empty lines are forgiven before a request line (RFC 9112 section 2.2).
const maxLeadingLines = 2

// reader holds the received bytes that were not used yet: buf[r:w]. Views of the current message's head lie below base,
// or in old when the body needed another buffer; both stay untouched until endStream.
type reader struct {
	conn net.Conn
	bufs *Buffers
	blk  *block // what buf lies in; nil when buf was made larger than a block
	buf  []byte
	r, w int
	base int
	old  *block
	note *note // unread bytes while a connection waits for the rest of a head, and holds no buffer
}

var _ conn.Lender = (*reader)(nil)

func (x *reader) buffered() int { return x.w - x.r }

func (x *reader) unread() []byte { return x.buf[x.r:x.w] }

// fill reads once behind the unread bytes. It returns nil when at least one byte came.
func (x *reader) fill() error {
	x.makeRoom()
	n, err := x.conn.Read(x.buf[x.w:])
	x.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// fillLent is fill for a connection between two messages: while it waits, it holds no buffer.
func (x *reader) fillLent(c lentReader) error {
	n, err := c.ReadLent(x)
	x.w += n
	if n > 0 {
		return nil
	}
	return err
}

// Lend implements conn.Lender.
func (x *reader) Lend() []byte {
	x.makeRoom()
	return x.buf[x.w:]
}

// TakeBack implements conn.Lender.
func (x *reader) TakeBack() { x.release() }

// makeRoom leaves at least minRoom bytes behind w and moves unread bytes only where no view points.
func (x *reader) makeRoom() {
	if x.buf == nil {
		x.blk = x.bufs.get()
		x.buf = x.blk.b[:]
		return
	}
	if x.r == x.w {
		x.r, x.w = x.base, x.base
	}
	if len(x.buf)-x.w >= minRoom {
		return
	}
	if x.base == 0 && x.r > 0 {
		x.w = copy(x.buf, x.buf[x.r:x.w])
		x.r = 0
		if len(x.buf)-x.w >= minRoom {
			return
		}
	}
	x.change()
}

// change moves the unread bytes to another buffer, at least twice as large as they are.
func (x *reader) change() {
	was, pinned, n := x.blk, x.base > 0, x.w-x.r
	if 2*n <= blockSize {
		x.blk = x.bufs.get()
		n = copy(x.blk.b[:], x.buf[x.r:x.w])
		x.buf = x.blk.b[:]
	} else {
		grown := make([]byte, 2*n+minRoom)
		n = copy(grown, x.buf[x.r:x.w])
		x.blk, x.buf = nil, grown
	}
	x.r, x.w, x.base = 0, n, 0
	if pinned && x.old == nil {
		x.old = was
	} else {
		x.bufs.put(was)
	}
}

// pin protects what was consumed so far: the head of the current message.
func (x *reader) pin() { x.base = x.r }

// endStream ends the views of the current message.
func (x *reader) endStream() {
	x.base = 0
	x.bufs.put(x.old)
	x.old = nil
	if x.buffered() == 0 && x.blk == nil {
		x.release()
	}
}

// release gives the buffer back; unread bytes are lost.
func (x *reader) release() {
	x.bufs.put(x.blk)
	x.blk, x.buf, x.r, x.w, x.base = nil, nil, 0, 0, 0
	x.bufs.put(x.old)
	x.old = nil
}

// head waits for a whole message head of at most limit bytes, consumes it and returns it with its closing blank line. An
// I/O error comes with partial set when some of a head had arrived.
func (x *reader) head(limit, leadingLines int) (head []byte, bad *codec.Error, err error) {
	scanned := 0
	for {
		b := x.unread()
		if leadingLines > 0 && scanned == 0 && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
			x.r += 2
			leadingLines--
			continue
		}
		if i := bytes.Index(b[scanned:], blankLine); i >= 0 {
			end := scanned + i + len(blankLine)
			if end > limit {
				return nil, tooLarge(b, limit), nil
			}
			x.r += end
			x.pin()
			return b[:end], nil, nil
		}
		if at := bareLF(b, scanned); at >= 0 {
			return nil, malformed("bare_lf", detailsCodec, "line feed without carriage return at byte %d of the head", at), nil
		}
		if len(b) >= limit {
			return nil, tooLarge(b, limit), nil
		}
		scanned = max(0, len(b)-len(blankLine)+1)
		if err := x.fillHead(); err != nil {
			return nil, nil, err
		}
	}
}

// fillHead is fill within a head: while a small part of one waits for the rest, it lies in a note. So clients that never
// finish what they have begun hold little memory.
func (x *reader) fillHead() error {
	c, ok := x.conn.(lentReader)
	if !ok {
		return x.fill()
	}
	n, err := c.ReadLent((*partial)(x))
	if x.note != nil {
		x.takeNote()
	}
	x.w += n
	if n > 0 {
		return nil
	}
	return err
}

// partial lends the buffer of a reader that holds a part of a head.
type partial reader

var _ conn.Lender = (*partial)(nil)

// Lend implements conn.Lender.
func (p *partial) Lend() []byte {
	x := (*reader)(p)
	if x.note != nil {
		x.takeNote()
	}
	x.makeRoom()
	return x.buf[x.w:]
}

// TakeBack implements conn.Lender.
func (p *partial) TakeBack() {
	x := (*reader)(p)
	if x.note != nil || x.buffered() > noteSize || x.base > 0 || x.old != nil {
		return
	}
	kept := x.bufs.notes.Get().(*note)
	kept.n = copy(kept.b[:], x.unread())
	x.release()
	x.note = kept
}

// takeNote moves what lay in the note into a buffer.
func (x *reader) takeNote() {
	kept := x.note
	x.note = nil
	x.makeRoom()
	x.w += copy(x.buf[x.w:], kept.b[:kept.n])
	x.bufs.notes.Put(kept)
}

var blankLine = []byte("\r\n\r\n")

// bareLF finds a line feed without carriage return in b, whose first from bytes may be skipped but for the last of them.
func bareLF(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n
		if i == 0 || b[i-1] != '\r' {
			return i
		}
	}
	return -1
}

// tooLarge tells a start line that does not fit from a head that does not.
func tooLarge(b []byte, limit int) *codec.Error {
	if bytes.IndexByte(b[:min(len(b), limit)], '\n') < 0 {
		return violation(431, "start_line_too_large", detailsTooLarge, "start line exceeds %d bytes", limit)
	}
	return violation(431, "headers_too_large", detailsTooLarge, "head exceeds %d bytes", limit)
}
