package h2

import "sync"

// Sizes of pooled memory in bytes.
const (
	// dataBlock holds received payload, and payload on its way out: one frame.
	dataBlock = maxPayload
	// readSize takes a whole frame and what came with it.
	readSize = 32 << 10
	// outBound is from when on streams wait before they add DATA to what is to be sent.
	outBound = 64 << 10
	// outSize leaves room for the frame that crosses the bound.
	outSize = outBound + maxPayload + 4<<10
)

// block is a piece of received payload: b[r:w] is unread.
type block struct {
	b    [dataBlock]byte
	r, w int
	next *block
}

// Shared is the memory that connections have in common: buffers and streams that are not in use. It is safe for
// concurrent use, and should be shared by all connections of a kind.
type Shared struct {
	blocks, reads, outs, servers, clients sync.Pool
}

// NewShared makes an empty value.
func NewShared() *Shared {
	return &Shared{
		blocks:  sync.Pool{New: func() any { return new(block) }},
		reads:   sync.Pool{New: func() any { return new([readSize]byte) }},
		outs:    sync.Pool{New: func() any { return new([outSize]byte) }},
		servers: sync.Pool{New: func() any { return newServerStream() }},
		clients: sync.Pool{New: func() any { return newClientStream() }},
	}
}

func (s *Shared) block() *block {
	b := s.blocks.Get().(*block)
	b.r, b.w, b.next = 0, 0, nil
	return b
}
