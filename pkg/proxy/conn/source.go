package conn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Passage lets weir's own connections to applications through where the kernel captures what comes in.
type Passage interface {
	// Let is called before the connection from client to server is made, in the namespace, nil for weir's own.
	Let(in *streaminfo.Namespace, client, server netip.AddrPort) error
	// End is called once after each Let that did not fail, when the connection is closed or could not be made.
	End(in *streaminfo.Namespace, client, server netip.AddrPort)
}

// attempts is how often a dial is begun anew with another port of its own, when the one it had cannot be used for the destination.
const attempts = 8

// dialFromSource connects from an address and port that are bound before, so that the kernel can be told of the connection.
func (d *Dialer) dialFromSource(ctx context.Context, nd *net.Dialer, from streaminfo.Origin, addr netip.AddrPort) (*Conn, error) {
	var last error
	for range attempts {
		nc, end, err := d.attempt(ctx, *nd, from, addr)
		if err == nil {
			return d.wrapWith(nc, end)
		}
		// Ports are shared with connections to other destinations: this one was in use for the same one.
		if last = err; !errors.Is(err, unix.EADDRNOTAVAIL) || from.Source.Addr.Port() != 0 {
			break
		}
	}
	return nil, last
}

func (d *Dialer) wrapWith(nc net.Conn, end func()) (*Conn, error) {
	c, err := d.wrap(nc)
	if err != nil {
		if end != nil {
			end()
		}
		return nil, err
	}
	c.release = end
	return c, nil
}

// attempt binds, tells the passage and connects. end ends the passage; it is nil when there is none.
func (d *Dialer) attempt(ctx context.Context, nd net.Dialer, from streaminfo.Origin, addr netip.AddrPort) (nc net.Conn, end func(), err error) {
	prepare := nd.ControlContext
	nd.ControlContext = func(ctx context.Context, network, address string, raw syscall.RawConn) error {
		if end != nil { // package net tries again by itself
			end()
			end = nil
		}
		if err := prepare(ctx, network, address, raw); err != nil {
			return err
		}
		var local netip.AddrPort
		var failed error
		if err := raw.Control(func(fd uintptr) { local, failed = d.bindSource(int(fd), from, addr) }); err != nil {
			return err
		}
		if failed != nil || !local.IsValid() || !from.Inbound || d.Passage == nil {
			return failed
		}
		if err := d.Passage.Let(from.Namespace, local, addr); err != nil {
			return err
		}
		end = func() { d.Passage.End(from.Namespace, local, addr) }
		return nil
	}
	nc, err = nd.DialContext(ctx, "tcp", addr.String()) // without a local address, which it would bind to once more
	if err == nil {
		return nc, end, nil
	}
	if end != nil {
		end()
	}
	return nil, nil, err
}

// bindSource gives a socket its source address and a port, and tells them. An address that is not the namespace's own is left
// unbound unless the source was asked for: what leaves the namespace is not captured there.
func (d *Dialer) bindSource(fd int, from streaminfo.Origin, to netip.AddrPort) (netip.AddrPort, error) {
	source, wanted := d.source(from, to)
	if from.Source.Addr.IsValid() && source == from.Source.Addr {
		if err := transparent(fd, from.Source); err != nil {
			return netip.AddrPort{}, err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("setsockopt", err)
	}
	// A port that is held until the socket is closed cannot be left to connect(2).
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0)
	err := bindTo(fd, source)
	if errors.Is(err, unix.EADDRINUSE) && source.Port() == 0 {
		err = bindShared(fd, source)
	}
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL) && !wanted:
		return netip.AddrPort{}, nil
	case err != nil:
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	return sockaddr(name), nil
}

// source is the address to connect from. When nothing says which, it is what the kernel would take for one of its own addresses:
// the same one.
func (d *Dialer) source(from streaminfo.Origin, to netip.AddrPort) (addr netip.AddrPort, wanted bool) {
	is4 := to.Addr().Is4()
	switch {
	case from.Source.Addr.IsValid() && from.Source.Addr.Addr().Is4() == is4:
		return from.Source.Addr, true
	case d.Bind.IsValid() && d.Bind.Addr().Is4() == is4:
		return d.Bind, true
	case to.Addr().IsLoopback() && is4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), false
	}
	return netip.AddrPortFrom(to.Addr(), 0), false
}

// transparent lets a socket have a foreign address, and marks it so that replies find back to it.
func transparent(fd int, s streaminfo.Source) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if s.Addr.Addr().Is6() {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return fmt.Errorf("set IP_TRANSPARENT: %w", err)
	}
	if s.Mark == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(s.Mark)); err != nil {
		return fmt.Errorf("set SO_MARK %#x: %w", s.Mark, err)
	}
	return nil
}

// bindShared binds to a port that connections to other destinations may have, when there is no free one: the kernel only looks
// for those.
func bindShared(fd int, source netip.AddrPort) error {
	const first, count, tries = 32768, 28232, 64 // the kernel's default net.ipv4.ip_local_port_range
	for range tries {
		err := bindTo(fd, netip.AddrPortFrom(source.Addr(), uint16(first+rand.N(count))))
		if !errors.Is(err, unix.EADDRINUSE) {
			return err
		}
	}
	return unix.EADDRINUSE
}

func bindTo(fd int, addr netip.AddrPort) error {
	if addr.Addr().Is4() {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	}
	sa := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if zone := addr.Addr().Zone(); zone != "" {
		if _, err := fmt.Sscan(zone, &sa.ZoneId); err != nil {
			return unix.EADDRNOTAVAIL
		}
	}
	return unix.Bind(fd, sa)
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
