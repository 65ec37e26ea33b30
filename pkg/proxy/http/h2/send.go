package h2

import (
	"io"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Bounds in bytes.
const (
	// flushAt is how much of one message is gathered before it is written although more is there.
	flushAt = 32 << 10
	// inlineLimit is how much of a request body is sent before the response is awaited; the rest has a goroutine of its
	// own, since a peer may answer before it reads on.
	inlineLimit = 64 << 10
)

// headWriter adds the HEADERS frame that begins a message. The caller holds mu.
type headWriter interface {
	writeHead(end bool) error
}

// sender sends one message: head, payload and trailers.
type sender struct {
	st       *stream
	head     headWriter
	body     message.Body // nil when there is no payload
	buffered message.Buffered
	left     int64 // of content-length, -1 when unknown

	blk      *block // payload that was read and not sent: b[r:w]
	eof      bool   // of the body
	headSent bool
	sent     int
	reading  bool // a read of the body may be blocked; guarded by mu
}

func (s *sender) init(st *stream, head headWriter, body message.Body, length int64) {
	*s = sender{st: st, head: head, body: body, left: length, eof: body == nil}
	s.buffered, _ = body.(message.Buffered)
}

// run sends the message, or what a run with inline set has left of it. It flushes before every read that would wait. With inline set it stops there, and wherever else
// it would have to wait, and done tells whether the message is complete.
func (s *sender) run(inline bool) (done bool, err error) {
	shared := s.st.c.shared
	if s.body != nil && s.blk == nil {
		s.blk = shared.block()
	}
	done, err = s.loop(inline)
	if s.blk != nil && (done || err != nil) {
		shared.blocks.Put(s.blk)
		s.blk = nil
	}
	return done, err
}

func (s *sender) loop(inline bool) (done bool, err error) {
	for {
		rerr := s.gather()
		if rerr == nil && !s.eof && s.blk.w == 0 {
			if wait, err := s.pause(inline); wait || err != nil {
				return false, err
			}
			rerr = s.readOnce()
		}
		stop, err := s.emit(rerr, inline)
		switch {
		case err != nil:
			return false, err
		case rerr != nil:
			return false, rerr
		case stop:
			return false, nil
		case s.eof:
			return true, nil
		}
	}
}

// gather reads what is there into the block.
func (s *sender) gather() error {
	for !s.eof && s.blk.w < len(s.blk.b) && s.ready() {
		n, err := s.body.Read(s.blk.b[s.blk.w:])
		if err := s.took(n, err); err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	return nil
}

func (s *sender) ready() bool {
	if s.buffered == nil {
		return false
	}
	n, whole := s.buffered.Buffered()
	return n > 0 || whole
}

// took accounts for a read of the body.
func (s *sender) took(n int, err error) error {
	s.blk.w += n
	s.eof = err == io.EOF
	if s.left >= 0 {
		if s.left -= int64(n); s.left < 0 {
			return &bodyError{errBodyLong}
		}
		if s.eof && s.left > 0 {
			return &bodyError{errBodyShort}
		}
	}
	if s.eof || err == nil {
		return nil
	}
	return &bodyError{err}
}

// pause sends what was gathered before the body is waited for. wait tells that the caller shall not.
func (s *sender) pause(inline bool) (wait bool, err error) {
	st, c := s.st, s.st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.begin(false); err != nil {
		return false, err
	}
	if !c.flushing && len(c.out) > 0 {
		c.commit(st)
	}
	if inline {
		return true, nil
	}
	if err := st.sendError(); err != nil {
		return false, err
	}
	s.reading = true
	return false, nil
}

// readOnce reads the body once, which may block. pause was called before.
func (s *sender) readOnce() error {
	n, err := s.body.Read(s.blk.b[:])
	c := s.st.c
	c.mu.Lock()
	s.reading = false
	c.mu.Unlock()
	return s.took(n, err)
}

// begin adds the head if it was not. The caller holds mu.
func (s *sender) begin(end bool) error {
	if s.headSent {
		return nil
	}
	if s.st.awoken.Load() == nil { // a reply to an exchange that was given up waits for nothing
		if err := s.st.awaitRoom(); err != nil {
			return err
		}
	}
	s.headSent = true
	if err := s.head.writeHead(end); err != nil {
		return err
	}
	if end {
		s.st.sentAll()
	}
	return nil
}

// emit adds what is in the block, and the end of the message. stop tells an inline run that it would have to wait.
func (s *sender) emit(rerr error, inline bool) (stop bool, err error) {
	st, c := s.st, s.st.c
	var trailers *message.Headers
	if s.eof && s.body != nil && rerr == nil {
		if trailers = s.body.Trailers(); trailers != nil && trailers.Len() == 0 {
			trailers = nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	finish := s.eof && trailers == nil && rerr == nil
	empty := s.blk == nil || s.blk.w == 0
	if err := s.begin(finish && empty); err != nil {
		return false, err
	}
	if !empty {
		if inline && s.sent+s.blk.w-s.blk.r > inlineLimit {
			c.commit(st)
			return true, nil
		}
		if stop, err = s.payload(finish, inline); stop || err != nil {
			return stop, err
		}
	} else if finish && !st.sendEnd { // the head went before
		if err := st.sendError(); err != nil {
			return false, err
		}
		c.begin()
		c.out = appendFrameHeader(c.out, 0, frameData, flagEndStream, st.id)
		c.outFrames++
		c.dataSent++
		st.sentAll()
	}
	if trailers != nil {
		if err := s.trailers(trailers); err != nil {
			return false, err
		}
	}
	if s.eof || rerr != nil || len(c.out) >= flushAt {
		c.commit(st)
	}
	return false, nil
}

// payload adds the block as DATA frames, as the windows allow.
func (s *sender) payload(finish, inline bool) (stop bool, err error) {
	st, c, b := s.st, s.st.c, s.blk
	bounded := st.awoken.Load() != nil // a reply to an exchange that was given up waits for nothing
	for b.r < b.w {
		if err := st.awaitWindow(bounded || inline); err != nil {
			if err == errWindow && inline {
				c.commit(st)
				return true, nil
			}
			if s.eof && st.mute {
				c.stats.TxFlushTimeout.Inc()
			}
			return false, err
		}
		n := min(b.w-b.r, st.sendWindow, c.sendWindow)
		flags := uint8(0)
		if finish && n == b.w-b.r {
			flags = flagEndStream
		}
		c.begin()
		c.out = append(appendFrameHeader(c.out, n, frameData, flags, st.id), b.b[b.r:b.r+n]...)
		c.outFrames++
		c.dataSent++
		st.sendWindow -= n
		c.sendWindow -= n
		b.r += n
		s.sent += n
		st.sentBody.Add(uint64(n))
		if flags != 0 {
			st.sentAll()
		}
		c.next()
	}
	b.r, b.w = 0, 0
	return false, nil
}

// trailers adds the HEADERS frame that ends the message.
func (s *sender) trailers(t *message.Headers) error {
	st, c := s.st, s.st.c
	if err := st.sendError(); err != nil {
		return err
	}
	at := c.reserve()
	c.out = c.enc.begin(c.out)
	var n int
	c.out, n = c.enc.appendTrailers(c.out, t)
	if n == 0 && len(c.out) == at+frameHeaderLen {
		c.out = appendFrameHeader(c.out[:at], 0, frameData, flagEndStream, st.id)
		c.outFrames++
		c.dataSent++
	} else {
		c.appendBlock(at, st.id, true)
		st.sentTrailer.Add(uint64(n))
		c.stats.Trailers.Inc()
	}
	st.sentAll()
	if c.enc.bad {
		return errBadField
	}
	return nil
}

// sentAll notes that END_STREAM was added.
func (st *stream) sentAll() {
	st.sendEnd = true
	st.endedBoth()
}
