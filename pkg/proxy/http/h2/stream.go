package h2

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// stream is what both sides of an exchange have in common. Its fields are guarded by the mu of its connection, but for
// the atomics.
type stream struct {
	c   *link
	id  uint32
	srv *serverStream // one of both is set
	cli *clientStream

	err    error // why the stream ended before its time: what its owner is told
	begun  time.Time
	rcond  sync.Cond // something was received, or err
	wcond  sync.Cond // something may be sent, or err
	open   bool      // in c.streams
	arena  arena
	gone   atomic.Bool // reset by the peer, or lost with the connection
	awoken atomic.Pointer[error]

	// Receiving.
	head, tail *block
	queued     int  // bytes in blocks
	recvEnd    bool // END_STREAM came
	recvWindow int
	unacked    int   // read since the last WINDOW_UPDATE
	declared   int64 // content-length, -1 when unknown
	received   int64
	dropping   bool // nobody reads any more
	deferred   bool // counted as such
	trailers   message.Headers

	// Sending.
	sendWindow int
	sendEnd    bool // END_STREAM was added
	mute       bool // writes return the error of an abort
	nextWaiter *stream
	waits      bool // in the list of waiters

	recvHead, recvBody, recvTrailer, sentHead, sentBody, sentTrailer atomic.Uint64
}

// reset prepares a pooled stream for use on c.
func (st *stream) reset(c *link) {
	st.c, st.id, st.err, st.open = c, 0, nil, false
	st.rcond.L, st.wcond.L = &c.mu, &c.mu
	st.arena.reset()
	st.gone.Store(false)
	st.awoken.Store(nil)
	st.queued, st.recvEnd, st.unacked, st.received, st.dropping = 0, false, 0, 0, false
	st.declared = -1
	st.trailers.Reset()
	st.sendEnd, st.mute, st.nextWaiter, st.waits = false, false, nil, false
	for _, n := range [...]*atomic.Uint64{&st.recvHead, &st.recvBody, &st.recvTrailer, &st.sentHead, &st.sentBody, &st.sentTrailer} {
		n.Store(0)
	}
}

// enter puts the stream into the connection under its id. The caller holds mu, as those of all functions below do.
func (st *stream) enter(id uint32) {
	st.id, st.open, st.sendWindow, st.recvWindow = id, true, st.c.peerWindow, st.c.ownWindow
	st.c.streams[id] = st
	st.c.stats.StreamsActive.Inc()
}

// leave takes the stream out of the connection; how says how frames that still come are answered.
func (st *stream) leave(how closedHow) {
	if !st.open {
		return
	}
	st.open = false
	delete(st.c.streams, st.id)
	if st.queued > 0 && how == closedInOrder {
		st.deferred = true
		st.c.stats.DeferredStreamClose.Inc()
	}
	st.c.recent.add(st.id, how)
	st.c.stats.StreamsActive.Dec()
}

// end tells whoever waits for the stream that it is over.
func (st *stream) end(err error) {
	if st.err == nil {
		st.err = err
	}
	st.gone.Store(true)
	if st.open {
		st.open = false
		st.c.stats.StreamsActive.Dec()
	}
	st.rcond.Broadcast()
	st.wcond.Broadcast()
	st.c.roomFree.Broadcast()
}

// endedBoth takes a stream out whose messages are both complete.
func (st *stream) endedBoth() {
	if st.recvEnd && st.sendEnd {
		st.leave(closedInOrder)
	}
}

// cut resets a stream that is still open. The frame has to be flushed.
func (st *stream) cut(code errCode) {
	if !st.open {
		return
	}
	c := st.c
	c.begin()
	c.out = appendReset(c.out, st.id, code)
	c.outFrames++
	c.outControl++
	c.stats.TxReset.Inc()
	st.leave(closedByUs)
}

// release gives back what the stream holds, and the connection's window for what nobody has read.
func (st *stream) release() {
	c := st.c
	if st.deferred {
		st.deferred = false
		c.stats.DeferredStreamClose.Dec()
	}
	if st.queued > 0 {
		c.credit(st.queued)
		st.queued = 0
	}
	for st.head != nil {
		b := st.head
		st.head = b.next
		c.shared.blocks.Put(b)
	}
	st.tail = nil
	if st.waits {
		c.unwait(st)
	}
}

// receive takes the payload of a DATA frame.
func (st *stream) receive(p []byte) {
	st.queued += len(p)
	for len(p) > 0 {
		if st.tail == nil || st.tail.w == len(st.tail.b) {
			b := st.c.shared.block()
			if st.tail == nil {
				st.head = b
			} else {
				st.tail.next = b
			}
			st.tail = b
		}
		n := copy(st.tail.b[st.tail.w:], p)
		st.tail.w += n
		p = p[n:]
	}
	st.rcond.Signal()
}

// endReceive takes the end of the message.
func (st *stream) endReceive() error {
	if st.declared >= 0 && st.received != st.declared {
		return streamErrorf(codeProtocol, "%d bytes came of %d that content-length announced", st.received, st.declared)
	}
	st.recvEnd = true
	st.rcond.Broadcast()
	st.endedBoth()
	return nil
}

// read moves received bytes to p and gives the peer window for them. It blocks while there are none. more tells that
// frames were added which should be sent.
func (st *stream) read(p []byte) (n int, err error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for st.queued == 0 && !st.recvEnd || st.dropping {
		if err := st.readError(); err != nil {
			return 0, err
		}
		st.rcond.Wait()
	}
	// What came before a reset is given first.
	if p := st.awoken.Load(); p != nil {
		return 0, *p
	}
	for n < len(p) && st.head != nil {
		b := st.head
		k := copy(p[n:], b.b[b.r:b.w])
		n += k
		if b.r += k; b.r == b.w {
			if st.head = b.next; st.head == nil {
				st.tail = nil
			}
			c.shared.blocks.Put(b)
		}
	}
	st.queued -= n
	st.recvBody.Add(uint64(n))
	st.restore(n)
	if st.recvEnd && st.queued == 0 {
		err = io.EOF
	}
	return n, err
}

// readError is why a read shall not wait.
func (st *stream) readError() error {
	if p := st.awoken.Load(); p != nil {
		return *p
	}
	if st.dropping {
		return errBodyClosed
	}
	return st.err
}

// restore gives window back for n bytes that were read, half a window at a time.
func (st *stream) restore(n int) {
	c := st.c
	c.credit(n)
	if st.recvEnd || !st.open {
		return
	}
	if st.unacked += n; st.unacked >= c.limits.streamWindow/2 {
		c.begin()
		c.out = appendWindowUpdate(c.out, st.id, st.unacked)
		c.outFrames++
		st.recvWindow += st.unacked
		st.unacked = 0
		c.flushSoon()
	}
}

// buffered returns how many bytes can be read without waiting, and whether nothing comes after them.
func (st *stream) buffered() (n int, whole bool) {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.readError() != nil && !st.recvEnd {
		return 0, true // the read that follows reports it without waiting
	}
	return st.queued, st.recvEnd
}

// drop discards what was received and what still comes. It wakes up a read.
func (st *stream) drop() {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.dropping || st.recvEnd && st.queued == 0 {
		return
	}
	st.dropping = true
	c.credit(st.queued)
	st.queued = 0
	for st.head != nil {
		b := st.head
		st.head = b.next
		c.shared.blocks.Put(b)
	}
	st.tail = nil
	st.rcond.Broadcast()
}

// abort makes blocked and later reads return err, and writes too if mute says so; the first one counts.
func (st *stream) abort(err error, mute func() bool) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.awoken.CompareAndSwap(nil, &err) {
		return
	}
	st.mute = mute == nil || mute()
	st.rcond.Broadcast()
	st.wcond.Broadcast()
	c.roomFree.Broadcast()
	if st.mute {
		c.interrupt(st)
	}
}

// give ends the sending of a message that nobody waits for any more. The caller holds mu.
func (st *stream) give(err error) {
	st.awoken.CompareAndSwap(nil, &err)
	st.mute = true
	st.wcond.Broadcast()
	st.c.roomFree.Broadcast()
}
