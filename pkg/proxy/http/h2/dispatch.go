package h2

import (
	"encoding/binary"
	"errors"
	"slices"
)

// closedHow says how a stream came to its end.
type closedHow uint8

const (
	closedUnknown closedHow = iota
	closedInOrder
	closedByPeer
	closedByUs // the peer may not know yet: what it still sends is dropped
)

// recentStreams remembers how the last streams ended. Those that we have reset are remembered for longer, since frames of
// the peer that cross with that are in order.
type recentStreams struct {
	ended  [64]uint32
	hows   [64]closedHow
	at     int
	ours   []uint32 // grows to oursKept
	oursAt int
}

// oursKept is how many streams are remembered that we have reset.
const oursKept = 1024

func (r *recentStreams) add(id uint32, how closedHow) {
	switch {
	case how != closedByUs:
		r.ended[r.at], r.hows[r.at] = id, how
		r.at = (r.at + 1) % len(r.ended)
	case len(r.ours) < oursKept:
		r.ours = append(r.ours, id)
	default:
		r.ours[r.oursAt] = id
		r.oursAt = (r.oursAt + 1) % oursKept
	}
}

func (r *recentStreams) how(id uint32) closedHow {
	if i := slices.Index(r.ended[:], id); i >= 0 {
		return r.hows[i]
	}
	if slices.Contains(r.ours, id) {
		return closedByUs
	}
	return closedUnknown
}

// readFrames handles frames until the connection ends. It always returns an error.
func (c *link) readFrames() error {
	for {
		h, payload, err := c.rd.frame()
		if err == nil {
			if err = c.dispatch(h, payload); err == nil {
				continue
			}
		}
		if bad, ok := errors.AsType[*streamError](err); ok {
			err = c.resetStream(h.stream, bad)
		}
		if err != nil {
			return err
		}
	}
}

// dispatch handles one frame. A streamError concerns the frame's stream.
func (c *link) dispatch(h frameHeader, p []byte) error {
	c.keep.heard(c)
	if c.block.id != 0 && (h.typ != frameContinuation || h.stream != c.block.id) {
		return connErrorf(codeProtocol, "frame of type %d within a field block", h.typ)
	}
	if !c.greeted && h.typ != frameSettings {
		return connErrorf(codeProtocol, "the first frame is of type %d", h.typ)
	}
	switch h.typ {
	case frameData:
		return c.onData(h, p)
	case frameHeaders:
		return c.onHeaders(h, p)
	case frameContinuation:
		return c.onContinuation(h, p)
	case framePriority:
		return c.onPriority(h, p)
	case frameRSTStream:
		err := c.onReset(h, p)
		c.side.afterReset()
		return err
	case frameSettings:
		return c.onSettings(h, p)
	case framePushPromise:
		return connErrorf(codeProtocol, "unexpected PUSH_PROMISE")
	case framePing:
		return c.onPing(h, p)
	case frameGoAway:
		return c.onGoAway(h, p)
	case frameWindowUpdate:
		return c.onWindowUpdate(h, p)
	case frameMetadata:
		if c.limits.metadata && len(p) == 0 {
			c.stats.MetadataEmptyFrames.Inc()
		}
	}
	return nil
}

// resetStream answers a violation that concerns one stream.
func (c *link) resetStream(id uint32, bad *streamError) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.answer(); err != nil {
		return err
	}
	c.out = appendReset(c.out, id, bad.code)
	c.stats.TxReset.Inc()
	if st := c.streams[id]; st != nil {
		err := c.side.wasReset(st) // who makes us reset streams is as bad as who resets them
		st.leave(closedByUs)
		st.end(bad)
		return err
	}
	if c.recent.how(id) == closedUnknown {
		c.recent.add(id, closedByUs)
	}
	return nil
}

// idle tells whether a stream was not opened yet. The caller holds mu.
func (c *link) idle(id uint32) bool { return id > c.lastID || id%2 == 0 }

// unpad takes the padding off a payload (RFC 9113 section 6.1).
func unpad(h frameHeader, p []byte) ([]byte, error) {
	if !h.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, connErrorf(codeProtocol, "more padding than payload")
	}
	return p[1 : len(p)-int(p[0])], nil
}

func (c *link) onData(h frameHeader, p []byte) error {
	data, err := unpad(h, p)
	if err != nil {
		return err
	}
	if err := c.emptyFrame(len(data), h.has(flagEndStream)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.stream == 0 || c.idle(h.stream) {
		return connErrorf(codeProtocol, "DATA on stream %d, which is idle", h.stream)
	}
	if c.recvWindow -= len(p); c.recvWindow < 0 {
		return connErrorf(codeFlowControl, "DATA beyond the connection's window")
	}
	st := c.streams[h.stream]
	switch {
	case st == nil || st.recvEnd:
		c.credit(len(p))
		return c.dataOnClosed(h.stream)
	case len(p) > st.recvWindow:
		c.credit(len(p))
		return streamErrorf(codeFlowControl, "DATA beyond the stream's window")
	}
	st.recvWindow -= len(p)
	if st.received += int64(len(data)); st.declared >= 0 && st.received > st.declared {
		c.credit(len(p))
		return c.messaging(streamErrorf(codeProtocol, "more payload than content-length announced"))
	}
	switch {
	case st.dropping:
		c.credit(len(p))
	case len(data) > 0:
		st.receive(data)
	}
	if padding := len(p) - len(data); padding > 0 && !st.dropping {
		st.restore(padding)
	}
	if !h.has(flagEndStream) {
		return nil
	}
	return c.messaging(st.endReceive())
}

// dataOnClosed is what becomes of DATA for a stream that takes none. The caller holds mu.
func (c *link) dataOnClosed(id uint32) error {
	if c.streams[id] == nil && c.recent.how(id) == closedByUs {
		return nil
	}
	return streamErrorf(codeStreamClosed, "DATA on a closed stream")
}

// messaging counts a malformed message, which ends the connection unless it is configured to end its stream alone.
func (c *link) messaging(err error) error {
	if err == nil {
		return nil
	}
	bad, ok := errors.AsType[*streamError](err)
	if !ok {
		return err
	}
	c.stats.RxMessagingError.Inc()
	if c.limits.streamErrors {
		return err
	}
	return &connError{bad.code, bad.err}
}

func (c *link) onPriority(h frameHeader, p []byte) error {
	if h.stream == 0 {
		return connErrorf(codeProtocol, "PRIORITY on stream 0")
	}
	if len(p) != 5 {
		return streamErrorf(codeFrameSize, "PRIORITY of %d bytes", len(p))
	}
	c.mu.Lock()
	err := c.priorityFrame()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return checkPriority(h.stream, p)
}

// checkPriority refuses a stream that depends on itself; priorities have no effect otherwise (RFC 9113 section 5.3).
func checkPriority(id uint32, p []byte) error {
	if binary.BigEndian.Uint32(p)&maxStreamID == id {
		return streamErrorf(codeProtocol, "stream %d depends on itself", id)
	}
	return nil
}

func (c *link) onReset(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connErrorf(codeFrameSize, "RST_STREAM of %d bytes", len(p))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.stream == 0 || c.idle(h.stream) {
		return connErrorf(codeProtocol, "RST_STREAM on stream %d, which is idle", h.stream)
	}
	st := c.streams[h.stream]
	if st == nil {
		return nil
	}
	c.stats.RxReset.Inc()
	code := errCode(binary.BigEndian.Uint32(p))
	if code == codeRefusedStream {
		c.stats.StreamRefusedErrors.Inc()
	}
	err := c.side.wasReset(st)
	st.leave(closedByPeer)
	st.end(&resetError{code})
	return err
}

func (c *link) onPing(h frameHeader, p []byte) error {
	if h.stream != 0 {
		return connErrorf(codeProtocol, "PING on stream %d", h.stream)
	}
	if len(p) != pingLen {
		return connErrorf(codeFrameSize, "PING of %d bytes", len(p))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	data := [pingLen]byte(p)
	if h.has(flagAck) {
		if !c.keep.answered(c, data) {
			c.side.pinged(data)
		}
		return nil
	}
	if err := c.answer(); err != nil {
		return err
	}
	c.out = appendPing(c.out, true, data)
	return nil
}

func (c *link) onGoAway(h frameHeader, p []byte) error {
	if h.stream != 0 {
		return connErrorf(codeProtocol, "GOAWAY on stream %d", h.stream)
	}
	if len(p) < 8 {
		return connErrorf(codeFrameSize, "GOAWAY of %d bytes", len(p))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.side.goneAway(binary.BigEndian.Uint32(p)&maxStreamID, errCode(binary.BigEndian.Uint32(p[4:])))
	return nil
}

func (c *link) onWindowUpdate(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connErrorf(codeFrameSize, "WINDOW_UPDATE of %d bytes", len(p))
	}
	n := int(binary.BigEndian.Uint32(p) & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.windowFrame(); err != nil {
		return err
	}
	if h.stream == 0 {
		if n == 0 {
			return connErrorf(codeProtocol, "WINDOW_UPDATE of 0")
		}
		if c.sendWindow += n; c.sendWindow > maxWindow {
			return connErrorf(codeFlowControl, "the connection's window exceeds 2^31-1")
		}
		c.next()
		return nil
	}
	if c.idle(h.stream) {
		return connErrorf(codeProtocol, "WINDOW_UPDATE on stream %d, which is idle", h.stream)
	}
	if n == 0 {
		return streamErrorf(codeProtocol, "WINDOW_UPDATE of 0")
	}
	if st := c.streams[h.stream]; st != nil && !st.grow(n) {
		return streamErrorf(codeFlowControl, "the stream's window exceeds 2^31-1")
	}
	return nil
}
