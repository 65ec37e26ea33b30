package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// TryConnection takes a place of max_connections for something that is not a connection of TCP. On success ReleaseConnection
// must follow. The error is an *upstream.Error of KindOverflow, counted as upstream_cx_overflow.
func (c *Cluster) TryConnection() error {
	if !c.core.shared.Connections[0].Try() {
		c.Stats().CxOverflow.Inc()
		return &upstream.Error{Kind: upstream.KindOverflow, BeforeResponse: true}
	}
	return nil
}

// ReleaseConnection gives the place of a TryConnection back.
func (c *Cluster) ReleaseConnection() { c.core.shared.Connections[0].Release() }

// Places is how many of max_connections are taken at a priority, 0 for the default one and 1 for the high one: by TCP connections, and
// by TryConnection. Connections that the kernel makes past weir take none.
func (c *Cluster) Places(priority int) int64 { return c.core.shared.Connections[priority].Used() }

// Requests is how many of max_requests are taken at a priority, as in Places: by requests that have a connection, and by TCP
// connections that are used as they are. Connections that the kernel makes past weir take none.
func (c *Cluster) Requests(priority int) int64 { return c.core.shared.Requests[priority].Used() }

// WatchHost has gone called once when h leaves the cluster, or the cluster the configuration, and returns what ends that.
// gone must not block.
func (c *Cluster) WatchHost(h *upstream.Host, gone func()) (stop func()) {
	if host, ok := h.Conns.(*pool.Host); ok {
		return host.Watch(gone)
	}
	return func() {}
}

// UDPOptions say how a socket for datagrams is made. The zero value is fine.
type UDPOptions struct {
	// Source is the address to send from, which need not be one of this host (IP_TRANSPARENT); the zero value leaves it to
	// the cluster.
	Source netip.Addr
	// Within is the network namespace that the client is in, where the socket is made unless the namespace says otherwise; nil for
	// weir's own.
	Within *streaminfo.Namespace
	// GRO asks for several datagrams at once.
	GRO bool
}

// DialUDP makes a socket that is connected to h. Like weir's TCP connections it carries the mark. The error wraps the system's.
func (c *Cluster) DialUDP(ctx context.Context, h *upstream.Host, o UDPOptions) (*net.UDPConn, error) {
	if !h.Address.IsValid() {
		return nil, fmt.Errorf("send datagrams to %s: it is not an IP address", h.Name())
	}
	dialer := c.core.transports.dialerOf(h.Address)
	var bind netip.AddrPort
	switch {
	case o.Source.IsValid():
		if o.Source.Is4() != h.Address.Addr().Is4() {
			return nil, fmt.Errorf("send datagrams to %s from %s: the address families differ", h.Address, o.Source)
		}
		bind = netip.AddrPortFrom(o.Source, 0)
	case dialer.Bind.IsValid() && dialer.Bind.Addr().Is4() == h.Address.Addr().Is4():
		bind = dialer.Bind
	}
	nd := net.Dialer{ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
		return datagramOptions(raw, dialer, o)
	}}
	if o.Within == nil || o.Within.HostUpstream {
		return nd.DialUDP(ctx, "udp", bind, h.Address)
	}
	var made *net.UDPConn
	err := o.Within.Inside(func() (err error) {
		made, err = nd.DialUDP(ctx, "udp", bind, h.Address)
		return err
	})
	return made, err
}

// dialerOf is the dialer whose source address is meant for the family of a destination.
func (t *transports) dialerOf(to netip.AddrPort) *conn.Dialer {
	if t.other != nil && to.Addr().Is4() == t.other.Bind.Addr().Is4() {
		return t.other
	}
	return &t.dialer
}

// setMark keeps the kernel side from capturing what the socket sends. Without the privilege to mark, weir captures nothing.
func setMark(fd int, d *conn.Dialer) error {
	if d.Mark == 0 {
		return nil
	}
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(d.Mark))
	if errors.Is(err, unix.EPERM) {
		if d.MarkFailed != nil {
			d.MarkFailed(fmt.Errorf("set SO_MARK %#x: %w", d.Mark, err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("set SO_MARK %#x: %w", d.Mark, err)
	}
	return nil
}

// datagramOptions sets what must be there before bind and connect.
func datagramOptions(raw syscall.RawConn, d *conn.Dialer, o UDPOptions) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		if failed = setMark(int(fd), d); failed != nil {
			return
		}
		if o.GRO {
			// Without it each datagram comes by itself.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
		if o.Source.IsValid() {
			level, option := unix.SOL_IP, unix.IP_TRANSPARENT
			if o.Source.Is6() {
				level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
			}
			if err := unix.SetsockoptInt(int(fd), level, option, 1); err != nil {
				failed = fmt.Errorf("set IP_TRANSPARENT: %w", err)
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}
