package h2

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
)

// flushRounds bounds how often a stream's goroutine writes what others add meanwhile.
const flushRounds = 4

// begin makes sure that out has memory. The caller holds mu, as those of all functions here do.
func (c *link) begin() {
	if c.out == nil {
		c.outBuf = c.shared.outs.Get().(*[outSize]byte)
		c.out = c.outBuf[:0]
	}
}

// answer makes room for a frame that answers something of the peer, and counts it. Only the reader calls it.
func (c *link) answer() error {
	c.begin()
	c.answered = true
	return c.controlFrame()
}

// room tells whether DATA may be added to what is to be sent.
func (c *link) room() bool { return len(c.out) < outBound }

// flushForReader has the frames sent that the reader has added. It does not block: a reader that waited for its peer to
// read might wait for a peer that does the same. Only the reader calls it, without mu.
func (c *link) flushForReader() {
	if c.answered {
		c.answered = false
		c.mu.Lock()
		c.flushSoon()
		c.mu.Unlock()
	}
}

// flushSoon has out written on another goroutine.
func (c *link) flushSoon() {
	if c.flushing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.flushing = true
	c.run(task{})
}

// commit sends what st has added. When other streams are about to add something too, they get the time to.
func (c *link) commit(st *stream) {
	if c.flushing {
		return
	}
	if len(c.streams) > 1 || c.workers.busy > 1 {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.flush(st)
}

// flush writes out on the goroutine of st, unless somebody does it already. It gives mu up meanwhile.
func (c *link) flush(st *stream) {
	if c.flushing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.flushing = true
	if !c.plain {
		c.run(task{})
		return
	}
	c.write(st)
}

// write writes out, and what is added meanwhile. The caller has set flushing. st is nil on a goroutine that has no stream.
func (c *link) write(st *stream) {
	for round := 0; len(c.rest)+len(c.out) > 0 && c.err == nil; round++ {
		if st != nil && round == flushRounds {
			c.run(task{})
			return
		}
		if c.rest == nil {
			c.rest, c.restBuf = c.out, c.outBuf
			c.restFrames, c.restControl = c.outFrames, c.outControl
			c.out, c.outBuf = nil, nil
			c.stats.PendingSendBytes.Add(int64(len(c.rest)))
		}
		if !c.writeRest(st) {
			return
		}
		c.roomFree.Broadcast()
		c.next()
	}
	c.flushing, c.flusher = false, nil
	c.endInterrupt()
	c.flushed.Broadcast()
}

// writeRest writes what was taken out; false tells that somebody else goes on.
func (c *link) writeRest(st *stream) bool {
	c.flusher = st
	buf := c.rest
	c.mu.Unlock()
	n, err := c.nc.Write(buf)
	c.mu.Lock()
	c.stats.PendingSendBytes.Sub(int64(n))
	if err != nil && c.interrupted && c.err == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		c.rest, c.flusher = buf[n:], nil
		c.endInterrupt()
		c.run(task{})
		return false
	}
	if c.restBuf != nil && c.err == nil {
		c.shared.outs.Put(c.restBuf)
	}
	c.rest, c.restBuf = nil, nil
	c.outFrames -= c.restFrames
	c.outControl -= c.restControl
	if err != nil {
		c.stats.PendingSendBytes.Sub(int64(len(buf) - n))
		c.fail(fmt.Errorf("write frames: %w", err))
		unblock(c.nc)
	}
	return true
}

// interrupt makes a blocked write on the goroutine of st return; the write goes on elsewhere.
func (c *link) interrupt(st *stream) {
	if c.flusher == st && st != nil {
		c.interrupted = true
		_ = c.nc.SetWriteDeadline(time.Unix(1, 0)) // a broken connection does not block
	}
}

func (c *link) endInterrupt() {
	if c.interrupted {
		c.interrupted = false
		if c.err == nil {
			_ = c.nc.SetWriteDeadline(time.Time{}) // a broken connection shows in the write
		}
	}
}

// takeOut returns all that is to be sent still.
func (c *link) takeOut() []byte {
	out := append(c.rest, c.out...)
	c.rest, c.restBuf = nil, nil
	return out
}

// dropOut gives the memory of out back.
func (c *link) dropOut() {
	if c.outBuf != nil {
		c.shared.outs.Put(c.outBuf)
	}
	c.out, c.outBuf = nil, nil
}

// appendBlock closes the field block that was encoded behind a reserved frame header at out[at:], cutting it into
// CONTINUATION frames when it is larger than a frame.
func (c *link) appendBlock(at int, id uint32, end bool) {
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	n := len(c.out) - at - frameHeaderLen
	c.outFrames++
	if n <= maxPayload {
		appendFrameHeader(c.out[:at], n, frameHeaders, flags|flagEndHeaders, id)
		return
	}
	rest := append([]byte(nil), c.out[at+frameHeaderLen:]...)
	c.out = c.out[:at]
	for typ := frameHeaders; len(rest) > 0; typ, flags = frameContinuation, 0 {
		k := min(len(rest), maxPayload)
		if k == len(rest) {
			flags |= flagEndHeaders
		}
		c.out = append(appendFrameHeader(c.out, k, typ, flags, id), rest[:k]...)
		rest = rest[k:]
	}
}

// reserve begins a frame whose header is written later, and returns its place.
func (c *link) reserve() int {
	c.begin()
	at := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return at
}
