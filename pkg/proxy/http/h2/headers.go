package h2

// headerBlock is a field block that is being received in several frames. It belongs to the reader.
type headerBlock struct {
	id     uint32 // 0 when there is none
	end    bool   // END_STREAM
	frames int
	b      []byte
}

func (c *link) onHeaders(h frameHeader, p []byte) error {
	if h.stream == 0 || h.stream%2 == 0 {
		return connErrorf(codeProtocol, "HEADERS on stream %d", h.stream)
	}
	block, err := unpad(h, p)
	if err != nil {
		return err
	}
	var bad error
	if h.has(flagPriority) {
		if len(block) < 5 {
			return connErrorf(codeFrameSize, "HEADERS too short for a priority")
		}
		bad = checkPriority(h.stream, block)
		block = block[5:]
	}
	if err := c.emptyFrame(len(block), h.has(flagEndStream)); err != nil {
		return err
	}
	if bad != nil {
		return c.refuse(h, block, bad)
	}
	if h.has(flagEndHeaders) {
		return c.side.headers(h.stream, h.has(flagEndStream), block)
	}
	c.block.id, c.block.end, c.block.frames = h.stream, h.has(flagEndStream), 0
	c.block.b = append(c.block.b[:0], block...)
	c.side.heading(true)
	return nil
}

// refuse ends a stream whose HEADERS frame has a bad priority: its fields are decoded to keep the table as the peer has it.
func (c *link) refuse(h frameHeader, block []byte, bad error) error {
	if !h.has(flagEndHeaders) {
		return connErrorf(codeProtocol, "%v", bad)
	}
	if err := c.skip(block); err != nil {
		return err
	}
	c.mu.Lock()
	c.lastID = max(c.lastID, h.stream)
	c.mu.Unlock()
	return bad
}

func (c *link) onContinuation(h frameHeader, p []byte) error {
	b := &c.block
	if b.id == 0 {
		return connErrorf(codeProtocol, "CONTINUATION without HEADERS")
	}
	if err := c.emptyFrame(len(p), false); err != nil {
		return err
	}
	b.frames++
	b.b = append(b.b, p...)
	if b.frames > c.limits.continuations || len(b.b) > c.limits.headerBytes+maxPayload {
		c.stats.HeaderOverflow.Inc()
		return connErrorf(codeEnhanceCalm, "field block of more than %d bytes in %d frames", len(b.b), b.frames+1)
	}
	if !h.has(flagEndHeaders) {
		return nil
	}
	id := b.id
	b.id = 0
	err := c.side.headers(id, b.end, b.b)
	b.b = nil
	c.side.heading(false)
	return err
}

// skip decodes a block that nobody wants.
func (c *link) skip(block []byte) error {
	var nobody ignoredFields
	if err := c.dec.decode(block, nobody); err != nil {
		return compression(err)
	}
	return nil
}

type ignoredFields struct{}

func (ignoredFields) field(*field) bool { return false }

func compression(err error) error { return connErrorf(codeCompression, "decode fields: %w", err) }
