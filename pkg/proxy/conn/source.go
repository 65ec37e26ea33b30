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
	// Let is called before the connection from client to server is made, in the namespace, nil for weir's own. The application is
	// to see peer as its client; the zero value stands for client.
	Let(in *streaminfo.Namespace, client, server, peer netip.AddrPort) error
	// End is called once after each Let that did not fail, when the connection is closed or could not be made.
	End(in *streaminfo.Namespace, client, server netip.AddrPort)
	// Lost is told of a connection that is made from weir's address since it cannot have the one that it was to have.
	Lost(source netip.AddrPort, err error)
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
		if failed != nil || !local.IsValid() || !d.passes(from) {
			return failed
		}
		if err := d.Passage.Let(from.Namespace, local, addr, named(from.Source, local)); err != nil {
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

// passes tells whether the kernel has to be told of connections from an origin to addresses of its namespace.
func (d *Dialer) passes(from streaminfo.Origin) bool { return from.Inbound && d.Passage != nil }

// named is whom an application sees when weir connects to it from local on behalf of a source: the zero value when none is asked for,
// or it has no address of the family.
func named(s streaminfo.Source, local netip.AddrPort) netip.AddrPort {
	switch {
	case !s.Addr.IsValid() || s.Addr.Addr().Is4() != local.Addr().Is4():
		return netip.AddrPort{}
	case s.Addr.Port() == 0:
		return netip.AddrPortFrom(s.Addr.Addr(), local.Port())
	}
	return s.Addr
}

// bindSource gives a socket its source address and a port, and tells them. A connection to an application has an address of the
// application's own namespace, as its answers would otherwise leave for the client; the kernel then tells the application who the
// client is. All other connections have the source that was asked for. The zero value stands for a socket that is not bound: what
// leaves the namespace is not captured there.
func (d *Dialer) bindSource(fd int, from streaminfo.Origin, to netip.AddrPort) (netip.AddrPort, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("setsockopt", err)
	}
	// A port that is held until the socket is closed cannot be left to connect(2).
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0)
	own, configured := d.ownSource(to)
	if d.passes(from) {
		local, err := bindAny(fd, own)
		if !errors.Is(err, unix.EADDRNOTAVAIL) {
			return local, err
		}
	}
	source := from.Source.Addr
	if source.IsValid() && source.Addr().Is4() == to.Addr().Is4() {
		err := transparent(fd, from.Source)
		switch {
		case err == nil:
			_, err = bindAny(fd, source)
			return netip.AddrPort{}, err
		case !errors.Is(err, unix.EPERM):
			return netip.AddrPort{}, err
		case d.Passage != nil:
			d.Passage.Lost(source, err)
		}
	}
	if !configured {
		return netip.AddrPort{}, nil
	}
	_, err := bindAny(fd, own)
	return netip.AddrPort{}, err
}

// bindAny binds to an address, and to any port if it has none, and tells the result.
func bindAny(fd int, source netip.AddrPort) (netip.AddrPort, error) {
	err := bindTo(fd, source)
	if errors.Is(err, unix.EADDRINUSE) && source.Port() == 0 {
		err = bindShared(fd, source)
	}
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	return sockaddr(name), nil
}

// ownSource is the address to connect from when nobody asks for another: what is configured, or else what the kernel would take for
// one of its own addresses, the same one.
func (d *Dialer) ownSource(to netip.AddrPort) (addr netip.AddrPort, configured bool) {
	is4 := to.Addr().Is4()
	switch {
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
	sa, err := sockaddrOf(addr)
	if err != nil {
		return err
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
