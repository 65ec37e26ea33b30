package h2

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// Optional abilities of a connection beside net.Conn. Plain net.Conn values work without any of them.
type (
	// lentReader reads into a buffer that it only takes when there are bytes, so that a connection that waits holds none.
	lentReader interface {
		ReadLent(l conn.Lender) (int, error)
	}
	// connAborter ends blocked calls at once, for good.
	connAborter interface{ Abort() }
	// writeCloser half-closes.
	writeCloser interface{ CloseWrite() error }
	// wrapper is implemented by *tls.Conn.
	wrapper interface{ NetConn() net.Conn }
)

// side is what a connection asks of the server or client that it belongs to.
type side interface {
	// headers takes a whole field block. Only the reader calls it, without mu.
	headers(id uint32, end bool, block []byte) error
	// heading tells that a field block comes in several frames, and when it is complete. Only the reader calls it, without
	// mu.
	heading(open bool)
	// goneAway takes a GOAWAY frame. The caller holds mu.
	goneAway(last uint32, code errCode)
	// pinged takes the answer to a PING that was not for keep-alive. The caller holds mu.
	pinged(data [pingLen]byte)
	// wasReset is called for each stream that the peer resets. The caller holds mu.
	wasReset(st *stream) error
	// afterReset is called when it has been. Only the reader calls it, without mu.
	afterReset()
	// serve runs the handler of a stream.
	serve(st *stream)
	// lastTaken is the last stream of the peer that was or will be served. The caller holds mu.
	lastTaken() uint32
	// settled is called when a SETTINGS frame has taken effect. The caller holds mu.
	settled()
}

// link is what both sides of a connection have in common. The reader's goroutine parses frames; everything that others
// see of it is guarded by mu, which is never held while the network or a body is waited for.
type link struct {
	nc     net.Conn
	side   side
	client bool
	plain  bool // a blocked write can be interrupted without harm
	limits limits
	stats  *Stats
	shared *Shared

	// Of the reader.
	rd       reader
	dec      *decoder
	block    headerBlock
	flood    flood        // updates and opened are guarded by mu
	greeted  bool         // the peer's first SETTINGS came
	answered bool         // the reader has added frames to what is to be sent
	readAt   atomic.Int64 // when the peer was last heard, if keep-alive asks
	wg       sync.WaitGroup

	mu  sync.Mutex // guards what follows
	err error      // why the connection ended
	cut bool       // requests were being served then

	// What is to be sent.
	out         []byte
	outBuf      *[outSize]byte
	outFrames   int
	outControl  int
	flushing    bool
	flusher     *stream // whose goroutine flushes
	interrupted bool
	flushed     sync.Cond // flushing became false
	rest        []byte    // of a write that was interrupted
	restBuf     *[outSize]byte
	restFrames  int
	restControl int
	roomFree    sync.Cond // something was written
	enc         encoder
	dataSent    uint64

	// Flow control and settings.
	sendWindow, recvWindow, unacked int
	peerWindow                      int // initial send window of streams
	ownWindow                       int // initial receive window of streams, as the peer may understand it
	peerStreams                     uint32
	peerConnect                     bool // RFC 8441
	settledOnce                     bool
	waiters, lastWaiter             *stream // streams that wait for the connection's window or room in out

	streams map[uint32]*stream
	lastID  uint32 // highest stream that was opened
	recent  recentStreams
	workers workers
	keep    keepalive
}

func (c *link) init(nc net.Conn, s side, client bool) {
	c.nc, c.side, c.client = nc, s, client
	_, c.plain = nc.(lentReader)
	c.rd.init(c)
	c.dec = newDecoder(c.limits.table)
	c.enc.init()
	c.flushed.L, c.roomFree.L = &c.mu, &c.mu
	c.sendWindow, c.recvWindow, c.peerWindow = initialWindow, initialWindow, initialWindow
	c.ownWindow = max(c.limits.streamWindow, initialWindow) // until the peer acknowledges a smaller one
	c.peerStreams = streamsBeforeSettings
	c.streams = make(map[uint32]*stream)
}

// fail ends the connection for all who use it; the first reason counts. The caller holds mu.
func (c *link) fail(err error) {
	if c.err != nil {
		return
	}
	c.err, c.cut = err, c.workers.busy > 0
	for _, st := range c.streams {
		st.end(unexpected(err)) // io.EOF would be the proper end of a message
	}
	clear(c.streams)
	c.flushed.Broadcast()
	c.roomFree.Broadcast()
	c.side.settled()
	c.keep.stop()
}

// sever is fail, and makes the reader and whoever writes return.
func (c *link) sever(err error) {
	c.mu.Lock()
	c.fail(err)
	c.mu.Unlock()
	unblock(c.nc)
}

// unblock makes blocked and later calls of the connection return. The error is of no interest: the connection is given up.
func unblock(nc net.Conn) {
	if a, ok := nc.(connAborter); ok {
		a.Abort()
		return
	}
	if w, ok := nc.(wrapper); ok {
		if a, ok := w.NetConn().(connAborter); ok {
			a.Abort()
			return
		}
	}
	_ = nc.SetDeadline(time.Unix(1, 0))
}

// goodbye tells the peer why the connection ends, as far as that is possible in the time of a lingering close, and waits
// for its close, since closing with unread bytes would destroy what is on its way. Only the reader calls it.
func (c *link) goodbye(err error) {
	c.mu.Lock()
	c.fail(err)
	var bad *connError
	said := errors.As(err, &bad)
	if !said && !errors.Is(err, errDrained) {
		c.mu.Unlock()
		return
	}
	if said {
		c.begin()
		c.out = appendGoAway(c.out, c.side.lastTaken(), bad.code)
		c.stats.GoAwaySent.Inc()
	}
	c.lingerOn()
	for c.flushing {
		c.flushed.Wait()
	}
	c.flushing = true
	out := c.takeOut()
	c.mu.Unlock()
	c.lingerOn()
	_, werr := c.nc.Write(out)
	c.mu.Lock()
	c.flushing = false
	c.dropOut()
	c.mu.Unlock()
	w, ok := c.nc.(writeCloser)
	if werr != nil || !ok || w.CloseWrite() != nil {
		return
	}
	c.lingerOn()
	c.rd.drain()
}

// lingerOn gives the peer the time of a lingering close, anew after each write that it has made room for, as in Envoy.
func (c *link) lingerOn() {
	_ = c.nc.SetDeadline(time.Now().Add(c.limits.linger)) // a broken connection does not block
}

// reason prefers why the connection was given up to what a read or write then said.
func (c *link) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}
