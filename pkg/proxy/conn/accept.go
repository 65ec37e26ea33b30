package conn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Acceptor takes connections from a listening TCP socket without package net, from which each would have to be taken over with
// five more system calls (Poller.Adopt). One goroutine accepts; Close may be called from any.
type Acceptor struct {
	file *os.File
	raw  syscall.RawConn
}

// Accepted is a connection that an Acceptor, or package net, has accepted. It has to be taken by Poller.Take, or dropped.
type Accepted struct {
	// Waited tells that there was no connection when Accept was called.
	Waited bool

	fd     int
	remote netip.AddrPort
	nc     net.Conn
}

// AcceptedBy is a connection that package net has accepted.
func AcceptedBy(nc net.Conn) Accepted { return Accepted{fd: -1, nc: nc} }

// Drop closes the connection in place of taking it.
func (a Accepted) Drop() {
	if a.nc != nil {
		_ = a.nc.Close()
		return
	}
	_ = unix.Close(a.fd)
}

// NewAcceptor prepares a socket, which stays the caller's and is to be closed beside the Acceptor. What it accepts has
// TCP_NODELAY set.
func NewAcceptor(ln *net.TCPListener) (*Acceptor, error) {
	own, err := ln.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("prepare to accept: %w", err)
	}
	var option error
	// Connections begin with the options of the socket that they were accepted from.
	err = own.Control(func(fd uintptr) { option = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) })
	if err = errors.Join(err, option); err != nil {
		return nil, fmt.Errorf("prepare to accept: %w", err)
	}
	file, err := ln.File() // package net does not wait for readability of its own descriptor on behalf of others
	if err != nil {
		return nil, fmt.Errorf("prepare to accept: %w", err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("prepare to accept: %w", err)
	}
	return &Acceptor{file: file, raw: raw}, nil
}

// Accept waits for a connection. The error wraps the system's, or os.ErrClosed after Close.
func (a *Acceptor) Accept() (Accepted, error) {
	got := Accepted{fd: -1}
	var failed syscall.Errno
	err := a.raw.Read(func(fd uintptr) bool {
		for {
			got.fd, got.remote, failed = accept4(int(fd))
			switch failed {
			case 0:
				return true
			case unix.EINTR, unix.ECONNABORTED: // the latter was closed while it waited
			case unix.EAGAIN:
				got.Waited = true
				return false
			default:
				return true
			}
		}
	})
	switch {
	case err != nil: // there are no deadlines
		return got, fmt.Errorf("accept: %w", os.ErrClosed)
	case failed != 0:
		return got, os.NewSyscallError("accept4", failed)
	}
	return got, nil
}

// Close ends Accept.
func (a *Acceptor) Close() error { return a.file.Close() }

// Take makes a connection of what was accepted. Wire bytes are counted into rx and tx; nil counts for RxBytes and TxBytes alone.
// On errors it is dropped.
func (p *Poller) Take(a Accepted, rx, tx *atomic.Uint64) (*Conn, error) {
	if a.nc != nil {
		c, err := p.Adopt(a.nc, rx, tx)
		if err != nil {
			a.Drop()
		}
		return c, err
	}
	local, link, errno := getsockname(a.fd)
	if errno != 0 {
		a.Drop()
		return nil, fmt.Errorf("take accepted connection: %w", os.NewSyscallError("getsockname", errno))
	}
	c := p.newConn(a.fd, rx, tx)
	c.identify(net.TCPAddrFromAddrPort(zoned(local, link)), net.TCPAddrFromAddrPort(a.remote))
	if err := p.add(c); err != nil {
		a.Drop()
		return nil, fmt.Errorf("take accepted connection: %w", err)
	}
	return c, nil
}

// zoned is an address with the name of its zone, or the link's number when that has gone.
func zoned(addr netip.AddrPort, link uint32) netip.AddrPort {
	if link == 0 || addr.Addr().Is4() {
		return addr
	}
	zone := strconv.FormatUint(uint64(link), 10)
	if l, err := net.InterfaceByIndex(int(link)); err == nil {
		zone = l.Name
	}
	return netip.AddrPortFrom(addr.Addr().WithZone(zone), addr.Port())
}
