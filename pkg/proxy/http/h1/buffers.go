package h1

import "sync"

// blockSize is the size of pooled buffers in bytes: one read or write of a bulk body.
const blockSize = 32 << 10

type block struct{ b [blockSize]byte }

// noteSize is what of a head that does not come to its end is kept while its connection waits.
const noteSize = 4 << 10

type note struct {
	n int
	b [noteSize]byte
}

// Buffers is a pool of read and write buffers, 32 KiB each. One value should be shared by all connections of a process;
// it is safe for concurrent use. An idle connection holds none.
type Buffers struct{ pool, notes sync.Pool }

// NewBuffers makes an empty pool.
func NewBuffers() *Buffers {
	return &Buffers{
		pool:  sync.Pool{New: func() any { return new(block) }},
		notes: sync.Pool{New: func() any { return new(note) }},
	}
}

func (p *Buffers) get() *block { return p.pool.Get().(*block) }

func (p *Buffers) put(b *block) {
	if b != nil {
		p.pool.Put(b)
	}
}
