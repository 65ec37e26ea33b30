package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// connect makes a connection with the poller's own means: package net's would have to be taken over (Adopt), which costs more
// system calls than the connection does. The socket is bound only when bind is valid: one that is bound to any address and any
// port takes a port for itself alone, of which there are 28,000 for connections to all destinations together.
func (d *Dialer) connect(ctx context.Context, in *streaminfo.Namespace, bind, addr netip.AddrPort) (*Conn, error) {
	fd, err := d.socket(in, addr.Addr())
	if err == nil {
		if err = d.prepare(fd, bind); err != nil {
			_ = unix.Close(fd)
		}
	}
	var c *Conn
	if err == nil {
		c, err = d.establish(ctx, fd, addr)
	}
	if err == nil {
		return c, nil
	}
	failed := &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(addr), Err: err}
	if bind.IsValid() {
		failed.Source = net.TCPAddrFromAddrPort(bind)
	}
	return nil, failed
}

// socket opens one for an address, in a namespace.
func (d *Dialer) socket(in *streaminfo.Namespace, to netip.Addr) (fd int, err error) {
	family := unix.AF_INET6
	if to.Is4() {
		family = unix.AF_INET
	}
	open := func() (err error) {
		var errno syscall.Errno
		fd, errno = tcpSocket(family)
		return failure("socket", errno)
	}
	if in == nil {
		return fd, open()
	}
	if err := in.Inside(open); err != nil {
		return -1, fmt.Errorf("open socket in network namespace %s: %w", in.Name, err)
	}
	return fd, nil
}

// prepare does what comes before connect.
func (d *Dialer) prepare(fd int, bind netip.AddrPort) error {
	if err := d.options(fd); err != nil {
		return err
	}
	if bind.IsValid() {
		return os.NewSyscallError("bind", bindTo(fd, bind))
	}
	return nil
}

// refine does what can be done while the peer answers already.
func (d *Dialer) refine(fd int) error {
	if errno := setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); errno != 0 {
		return os.NewSyscallError("setsockopt", errno)
	}
	return os.NewSyscallError("setsockopt", d.keepAlive(fd))
}

// keepAlive sets what is configured of it. What is 0 is left to the system.
func (d *Dialer) keepAlive(fd int) error {
	k := d.Keepalive
	if k == nil {
		return nil
	}
	seconds := func(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	for _, o := range [...]struct{ option, value int }{
		{unix.TCP_KEEPIDLE, seconds(k.Time)}, {unix.TCP_KEEPINTVL, seconds(k.Interval)}, {unix.TCP_KEEPCNT, k.Probes},
	} {
		if err == nil && o.value > 0 {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, o.option, o.value)
		}
	}
	return err
}

// establish connects the socket, which it closes on errors.
func (d *Dialer) establish(ctx context.Context, fd int, addr netip.AddrPort) (*Conn, error) {
	p := d.Poller
	link, err := linkNumber(addr.Addr())
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	errno := dial(fd, addr, link)
	if errno == 0 || errno == unix.EINPROGRESS || errno == unix.EINTR {
		if err := d.refine(fd); err != nil {
			_ = unix.Close(fd)
			return nil, err
		}
	}
	if errno == unix.EINPROGRESS || errno == unix.EINTR {
		// A listener of this host has answered by now; asking costs less than being told.
		errno = dial(fd, addr, link)
	}
	waits := errno == unix.EALREADY || errno == unix.EINPROGRESS
	if errno != 0 && !waits && errno != unix.EISCONN { // which tells that it is connected
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("connect", errno)
	}
	c := p.newConn(fd, nil, nil)
	c.room = waits
	if failed := p.add(c); failed != nil {
		_ = unix.Close(fd)
		return nil, failed
	}
	if waits {
		Waits(ctx)
		err = c.connected(ctx)
	}
	if err == nil {
		err = c.named(addr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// connected waits until TCP is. On errors the poller has forgotten the connection.
func (c *Conn) connected(ctx context.Context) error {
	given := context.AfterFunc(ctx, func() { c.limit(longPast, &c.out) })
	err := c.out.wait(c)
	if !given() {
		c.poller.remove(c)
		return ctx.Err()
	}
	if err == nil {
		var code int
		code, err = unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = syscall.Errno(code)
		}
	}
	if err != nil {
		c.poller.remove(c)
		return os.NewSyscallError("connect", err)
	}
	return nil
}

// named learns the addresses of a connected socket. One whose addresses are the same has connected to itself, which happens
// where nobody listens on a port that the kernel would choose. On errors the poller has forgotten the connection.
func (c *Conn) named(addr netip.AddrPort) error {
	local, _, errno := getsockname(c.fd)
	if errno == 0 && local == addr {
		errno = unix.ECONNREFUSED
	}
	if errno != 0 {
		c.poller.remove(c)
		return os.NewSyscallError("connect", errno)
	}
	c.identify(net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(addr))
	return nil
}

// newConn makes a connection of a descriptor whose addresses are not known yet.
func (p *Poller) newConn(fd int, rx, tx *atomic.Uint64) *Conn {
	c := &Conn{poller: p, fd: fd, rx: rx, tx: tx}
	if c.rx == nil {
		c.rx = &c.ownRx
	}
	if c.tx == nil {
		c.tx = &c.ownTx
	}
	c.in.wake, c.out.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	return c
}

// identify gives the connection its addresses, before it is used.
func (c *Conn) identify(laddr, raddr net.Addr) {
	c.laddr, c.raddr = laddr, raddr
	c.local, c.remote = AddrPort(laddr), AddrPort(raddr)
	_, c.stream = laddr.(*net.TCPAddr)
	c.trial.Store(c.trials())
}

// sockaddrOf is an address for the kernel; its zone is a number (scoped).
func sockaddrOf(addr netip.AddrPort) (unix.Sockaddr, error) {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}, nil
	}
	link, err := linkNumber(addr.Addr())
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16(), ZoneId: link}, nil
}

// linkNumber is the number of the link that an address is on, which is its zone (scoped); 0 for an address without one.
func linkNumber(addr netip.Addr) (link uint32, err error) {
	if !addr.IsValid() {
		return 0, errors.New("no address")
	}
	if zone := addr.Zone(); zone != "" {
		if _, err := fmt.Sscan(zone, &link); err != nil {
			return 0, unix.EADDRNOTAVAIL
		}
	}
	return link, nil
}

// failure is the error of a system call; nil when there is none.
func failure(call string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}
