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
	var failed error
	err := a.raw.Read(func(fd uintptr) bool {
		for {
			var from unix.Sockaddr
			got.fd, from, failed = unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch failed {
			case nil:
				got.remote = addrPortOf(from)
				return true
			case unix.EINTR, unix.ECONNABORTED: // the latter was closed while it waited
			default:
				return failed != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil: // there are no deadlines
		return got, fmt.Errorf("accept: %w", os.ErrClosed)
	case failed != nil:
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
	local, err := unix.Getsockname(a.fd)
	if err != nil {
		a.Drop()
		return nil, fmt.Errorf("take accepted connection: %w", os.NewSyscallError("getsockname", err))
	}
	c := p.newConn(a.fd, rx, tx)
	c.identify(net.TCPAddrFromAddrPort(addrPortOf(local)), net.TCPAddrFromAddrPort(a.remote))
	if err := p.add(c); err != nil {
		a.Drop()
		return nil, fmt.Errorf("take accepted connection: %w", err)
	}
	return c, nil
}

// addrPortOf is an address of the kernel's, unmapped, with the name of its zone.
func addrPortOf(sa unix.Sockaddr) netip.AddrPort {
	out := sockaddr(sa)
	v6, ok := sa.(*unix.SockaddrInet6)
	if !ok || v6.ZoneId == 0 || out.Addr().Is4() {
		return out
	}
	zone := strconv.FormatUint(uint64(v6.ZoneId), 10)
	if link, err := net.InterfaceByIndex(int(v6.ZoneId)); err == nil {
		zone = link.Name
	}
	return netip.AddrPortFrom(out.Addr().WithZone(zone), out.Port())
}
