package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Predecessor is the older process, as the newer one sees it.
type Predecessor struct {
	conn    *net.UnixConn
	pid     int
	sockets map[string]net.Listener
}

// Begin finds the older process at a name and tells it that this one is there. The error wraps ECONNREFUSED or ENOENT when there
// is none.
func Begin(ctx context.Context, name string) (*Predecessor, error) {
	conn, err := net.DialUnix("unixpacket", nil, address(name))
	if err != nil {
		return nil, fmt.Errorf("find the weir to take over from: %w", err)
	}
	p := &Predecessor{conn: conn, sockets: make(map[string]net.Listener)}
	if p.pid, err = peer(conn); err == nil {
		err = p.ask(ctx, message{Verb: verbBegin})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("take over from the weir with pid %d: %w", p.pid, err)
	}
	return p, nil
}

// PID of the older process.
func (p *Predecessor) PID() int { return p.pid }

// Sockets asks for the sockets. The older process goes on to accept from them.
func (p *Predecessor) Sockets(ctx context.Context) error {
	if err := p.ask(ctx, message{Verb: verbSockets}); err != nil {
		return fmt.Errorf("take the sockets of the weir with pid %d: %w", p.pid, err)
	}
	return nil
}

// Claim gives a socket that was passed, once; nil when there is none with the key.
func (p *Predecessor) Claim(key string) net.Listener {
	if p == nil {
		return nil
	}
	ln := p.sockets[key]
	delete(p.sockets, key)
	return ln
}

// Done tells the older process that this one serves, and for how long that one may go on. Sockets that were not claimed are
// closed: connections that wait there are lost, as they are when a listener is removed.
func (p *Predecessor) Done(ctx context.Context, shutdown time.Duration) error {
	err := p.ask(ctx, message{Verb: verbDone, Shutdown: shutdown})
	p.Close()
	if err != nil {
		return fmt.Errorf("tell the weir with pid %d that it is relieved: %w", p.pid, err)
	}
	return nil
}

// Close breaks off the handover unless Done went before. Sockets that were claimed stay open.
func (p *Predecessor) Close() {
	for _, ln := range p.sockets {
		if u, ok := ln.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		_ = ln.Close() // it was only ever a copy
	}
	clear(p.sockets)
	_ = p.conn.Close() // both sides are through with it
}

// ask sends a request and keeps the sockets that come before the answer.
func (p *Predecessor) ask(ctx context.Context, m message) error {
	deadline := time.Now().Add(answerTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := p.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if err := send(p.conn, m, -1); err != nil {
		return err
	}
	for {
		answer, file, err := receive(p.conn)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errors.New("it does not answer; it may be stopped, or stuck")
		case err != nil:
			return fmt.Errorf("read its answer to %s: %w", m.Verb, err)
		case answer.Verb == verbOK:
			return nil
		case answer.Verb == verbError:
			return fmt.Errorf("it refused: %s", answer.Error)
		case answer.Verb != verbSocket:
			return fmt.Errorf("it answered %s with %s", m.Verb, answer.Verb)
		}
		ln, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("use socket %s: %w", answer.Key, err)
		}
		if before := p.sockets[answer.Key]; before != nil {
			before.Close()
		}
		p.sockets[answer.Key] = ln
	}
}
