// Package detect runs the listener filters of a connection: it shows them what the client sent first, under one timeout,
// and gives the bytes back to the connection afterwards.
//
// It owns the look-ahead buffers. It must not know any filter, listener or filter chain. A buffer is taken when bytes are
// there, and the timeout begins when a filter waits for some, not before: filters that look at no bytes cost neither.
package detect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Limit is the most bytes that listener filters can look at.
const Limit = 16 << 10

var (
	// ErrTimeout says that the filters did not finish in time.
	ErrTimeout = errors.New("listener filters timed out")
	// ErrRemoteClose says that the client closed before the filters had seen enough.
	ErrRemoteClose = errors.New("closed by the client during listener filters")
	// ErrRejected says that a filter closed the connection without an error of its own.
	ErrRejected = errors.New("closed by a listener filter")
)

// Options are those of the listener.
type Options struct {
	Filters []filter.Listener
	// Timeout bounds the filters together, from when the first of them waits for bytes; 0 disables.
	Timeout time.Duration
	// ContinueOnTimeout goes on with what is known instead of ErrTimeout.
	ContinueOnTimeout bool
	// Waiter is told before the connection waits for the first time; nil for nobody.
	Waiter Waiter
}

// Waiter is told that the goroutine of the filters is going to wait for the client.
type Waiter interface{ Waits() }

// Pool keeps look-ahead buffers. The zero value is usable.
type Pool struct{ buffers sync.Pool }

func (p *Pool) get() *[Limit]byte {
	if b, ok := p.buffers.Get().(*[Limit]byte); ok {
		return b
	}
	return new([Limit]byte)
}

// Run runs the filters in order. On return without error the connection reads as if nobody had looked, less what a
// filter discarded. timedOut tells that the timeout ended the filters, with or without ContinueOnTimeout. The transport
// protocol is "raw_buffer" when no filter found another.
func (p *Pool) Run(ctx context.Context, c *conn.Conn, info *streaminfo.Connection, o Options) (timedOut bool, err error) {
	if len(o.Filters) > 0 {
		timedOut, err = p.run(ctx, c, info, o)
	}
	if info.TransportProtocol == "" {
		info.TransportProtocol = "raw_buffer"
	}
	return timedOut, err
}

func (p *Pool) run(ctx context.Context, c *conn.Conn, info *streaminfo.Connection, o Options) (timedOut bool, err error) {
	pk := &peeker{c: c, pool: p, timeout: o.Timeout, waiter: o.Waiter}
	err = inspectAll(ctx, pk, info, o.Filters)
	timedOut = pk.disarm() && err != nil
	if timedOut {
		err = ErrTimeout
		if o.ContinueOnTimeout {
			err = nil
		}
	}
	pk.giveBack()
	return timedOut, err
}

func inspectAll(ctx context.Context, pk *peeker, info *streaminfo.Connection, filters []filter.Listener) error {
	for _, f := range filters {
		verdict, err := f.Inspect(ctx, pk, info)
		switch {
		case err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			return ErrRemoteClose
		case err != nil:
			return err
		case verdict == filter.Close:
			return ErrRejected
		}
	}
	return nil
}

// peeker implements filter.PeekConn.
type peeker struct {
	c       *conn.Conn
	pool    *Pool
	timeout time.Duration
	waiter  Waiter
	buf     *[Limit]byte // nil until bytes came
	start   int          // discarded so far
	end     int
	eof     bool

	// What follows is set when it waits for the first time. ctx ends with the timeout.
	ctx    context.Context
	cancel context.CancelFunc
	stop   func() bool
	woken  chan struct{}
}

var _ filter.PeekConn = (*peeker)(nil)

// Peek implements filter.PeekConn.
func (p *peeker) Peek(ctx context.Context, n int) ([]byte, error) {
	if p.start+n > Limit {
		return p.bytes(), fmt.Errorf("peek at %d bytes: the limit is %d", n, Limit)
	}
	for p.end-p.start < n {
		if p.eof {
			return p.bytes(), io.EOF
		}
		if err := p.fill(ctx); err != nil {
			return p.bytes(), err
		}
	}
	return p.bytes(), nil
}

func (p *peeker) bytes() []byte {
	if p.buf == nil {
		return nil
	}
	return p.buf[p.start:p.end]
}

// fill reads once, waiting without a buffer if it has none yet.
func (p *peeker) fill(ctx context.Context) error {
	p.arm(ctx)
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	if err := p.c.WaitReadable(); err != nil {
		return ended(p.ctx, err)
	}
	if p.buf == nil {
		p.buf = p.pool.get()
	}
	n, err := p.c.TryRead(p.buf[p.end:])
	p.end += n
	switch {
	case err == nil || errors.Is(err, conn.ErrWouldBlock):
		return nil
	case errors.Is(err, io.EOF):
		p.eof = true
		return nil
	default:
		return ended(p.ctx, err)
	}
}

// arm begins the timeout, unless that was done.
func (p *peeker) arm(ctx context.Context) {
	if p.ctx != nil {
		return
	}
	if p.waiter != nil {
		p.waiter.Waits()
	}
	p.ctx, p.cancel = ctx, func() {}
	if p.timeout > 0 {
		p.ctx, p.cancel = context.WithTimeoutCause(ctx, p.timeout, ErrTimeout)
	}
	p.woken = make(chan struct{})
	p.stop = context.AfterFunc(p.ctx, func() {
		_ = p.c.SetReadDeadline(time.Unix(1, 0)) // an error means closed, which wakes too
		close(p.woken)
	})
}

// disarm ends the timeout, which must not outlast this phase, and tells whether it was over.
func (p *peeker) disarm() (timedOut bool) {
	if p.ctx == nil {
		return false
	}
	if !p.stop() {
		<-p.woken
		_ = p.c.SetReadDeadline(time.Time{})
	}
	timedOut = errors.Is(context.Cause(p.ctx), ErrTimeout)
	p.cancel()
	return timedOut
}

// ended names the context's end when that is what stopped a read.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Discard implements filter.PeekConn.
func (p *peeker) Discard(n int) error {
	if n < 0 || n > p.end-p.start {
		return fmt.Errorf("discard %d bytes: %d were peeked", n, p.end-p.start)
	}
	p.start += n
	return nil
}

// giveBack returns what was read to the connection, and the buffer to the pool when that is consumed.
func (p *peeker) giveBack() {
	if p.buf != nil {
		buf := p.buf
		p.c.Prepend(buf[p.start:p.end], func() { p.pool.buffers.Put(buf) })
		p.buf = nil
	}
}
