package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// ErrSelf is wrapped by the error of a dial that would have come back to weir itself.
var ErrSelf = errors.New("address is weir's own")

// Dialer makes upstream connections. It is immutable in use and safe for concurrent use.
type Dialer struct {
	// Poller takes the connections; it must be set.
	Poller *Poller
	// Mark is set as SO_MARK so that the kernel side leaves the connection alone; 0 sets none. Without the privilege
	// (EPERM) the connection is made without it, and MarkFailed, when set, is told each time.
	Mark       uint32
	MarkFailed func(error)
	// Bind is the source address for destinations of its family; the zero value leaves it to the kernel.
	Bind netip.AddrPort
	// Keepalive turns TCP keep-alive on; nil leaves it off.
	Keepalive *model.TCPKeepalive
	// Self tells weir's own listening addresses, which are refused with ErrSelf; nil refuses none.
	Self func(netip.AddrPort) bool
	// Passage is told of connections whose origin is inbound; nil tells nobody.
	Passage Passage
}

// Dial connects to a TCP address with TCP_NODELAY set. The error wraps the system's, the context's or ErrSelf. It calls Waits unless
// the peer answers at once, as one on this host does.
func (d *Dialer) Dial(ctx context.Context, addr netip.AddrPort) (*Conn, error) {
	return d.DialFrom(ctx, streaminfo.Origin{}, addr)
}

// DialFrom is Dial from where the origin says.
func (d *Dialer) DialFrom(ctx context.Context, from streaminfo.Origin, addr netip.AddrPort) (*Conn, error) {
	addr = Unmap(addr)
	self := d.Self
	if in := from.Namespace; in != nil {
		self = in.Own
	}
	if err := scoped(from.Namespace, &addr); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	if self != nil && self(addr) {
		return nil, fmt.Errorf("connect to %s: %w", addr, ErrSelf)
	}
	if d.Poller != nil {
		d.Poller.expect(addr)
	}
	if from.Inbound && d.Passage != nil || from.Source.Addr.IsValid() {
		Waits(ctx)
		nd := net.Dialer{KeepAlive: -1, ControlContext: d.controlIn(from.Namespace)}
		if k := d.Keepalive; k != nil {
			nd.KeepAliveConfig = net.KeepAliveConfig{
				Enable: true, Idle: orDefault(k.Time), Interval: orDefault(k.Interval), Count: orDefault(k.Probes),
			}
		}
		return d.dialFromSource(ctx, &nd, from, addr)
	}
	var bind netip.AddrPort
	if d.Bind.IsValid() && d.Bind.Addr().Is4() == addr.Addr().Is4() {
		bind = d.Bind
	}
	return d.connect(ctx, from.Namespace, bind, addr)
}

// DialPipe connects to a unix stream socket.
func (d *Dialer) DialPipe(ctx context.Context, path string) (*Conn, error) {
	Waits(ctx)
	var nd net.Dialer
	nc, err := nd.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return d.wrap(nc)
}

func (d *Dialer) wrap(nc net.Conn) (*Conn, error) {
	c, err := d.Poller.Adopt(nc, nil, nil)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// options sets what must be there before connect.
func (d *Dialer) options(fd int) error {
	if d.Mark != 0 {
		switch errno := setOption(fd, unix.SOL_SOCKET, unix.SO_MARK, int(d.Mark)); errno {
		case 0:
		case unix.EPERM:
			if d.MarkFailed != nil {
				d.MarkFailed(fmt.Errorf("set SO_MARK %#x: %w", d.Mark, errno))
			}
		default:
			return fmt.Errorf("set SO_MARK %#x: %w", d.Mark, errno)
		}
	}
	if d.Bind.IsValid() && d.Bind.Port() == 0 {
		// The port is chosen at connect, per destination, so that more connections fit than there are ports.
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
	}
	return nil
}

// orDefault turns "not given" into what package net takes as "leave it to the system".
func orDefault[T int | time.Duration](v T) T {
	if v == 0 {
		return -1
	}
	return v
}
