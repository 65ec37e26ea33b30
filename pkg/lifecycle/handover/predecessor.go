package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Predecessor is the older process, as the newer one sees it.
type Predecessor struct {
	conn    *net.UnixConn
	pid     int
	origin  Origin
	sockets map[string]net.Listener
	packets map[string]net.PacketConn
}

// Origin is what one process inherits of the first one.
type Origin struct {
	// Start is when the first process started, Generation how many there were up to this one.
	Start      time.Time
	Generation uint64

	format int // of statistics, 0 when none are given
}

// Begin finds the older process at a name and tells it that this one is there. The error wraps ECONNREFUSED or ENOENT when there
// is none.
func Begin(ctx context.Context, name string) (*Predecessor, error) {
	conn, err := net.DialUnix("unixpacket", nil, address(name))
	if err != nil {
		return nil, fmt.Errorf("find the weir to take over from: %w", err)
	}
	p := &Predecessor{conn: conn, sockets: make(map[string]net.Listener), packets: make(map[string]net.PacketConn)}
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

// Origin is the older process's; it is zero when that one is of a version that does not tell.
func (p *Predecessor) Origin() Origin { return p.origin }

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

// ClaimPacket is Claim for a socket of datagrams.
func (p *Predecessor) ClaimPacket(key string) net.PacketConn {
	if p == nil {
		return nil
	}
	pc := p.packets[key]
	delete(p.packets, key)
	return pc
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
	for _, pc := range p.packets {
		_ = pc.Close()
	}
	clear(p.packets)
	_ = p.conn.Close() // both sides are through with it
}

// ask sends a request and keeps the sockets that come before the answer.
func (p *Predecessor) ask(ctx context.Context, m message) error { return p.askWith(ctx, m, -1) }

// askWith is ask with a descriptor beside the request.
func (p *Predecessor) askWith(ctx context.Context, m message, fd int) error {
	deadline := time.Now().Add(answerTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := p.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	if err := send(p.conn, m, fd); err != nil {
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
			if o := answer.Origin; o != nil {
				p.origin = Origin{Start: o.Start, Generation: o.Generation, format: o.Format}
			}
			return nil
		case answer.Verb == verbError:
			return fmt.Errorf("it refused: %s", answer.Error)
		case answer.Verb != verbSocket:
			return fmt.Errorf("it answered %s with %s", m.Verb, answer.Verb)
		}
		err = p.keep(answer.Key, file)
		file.Close()
		if err != nil {
			return fmt.Errorf("use socket %s: %w", answer.Key, err)
		}
	}
}

// keep makes a socket of its descriptor, one that accepts or one of datagrams.
func (p *Predecessor) keep(key string, file *os.File) error {
	raw, err := file.SyscallConn() // Fd would make the socket block, for the older process too
	if err != nil {
		return err
	}
	kind := 0
	if failed := raw.Control(func(fd uintptr) { kind, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE) }); failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if kind == unix.SOCK_DGRAM {
		pc, err := net.FilePacketConn(file)
		if err != nil {
			return err
		}
		if before := p.packets[key]; before != nil {
			before.Close()
		}
		p.packets[key] = pc
		return nil
	}
	ln, err := net.FileListener(file)
	if err != nil {
		return err
	}
	if before := p.sockets[key]; before != nil {
		before.Close()
	}
	p.sockets[key] = ln
	return nil
}
