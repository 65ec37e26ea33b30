package listener

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// soOriginalDst is SO_ORIGINAL_DST, and IP6T_SO_ORIGINAL_DST too (linux/netfilter_ipv4.h).
const soOriginalDst = 80

// originalDst finds where the client of a connection wanted to go: the kernel side knows what it redirected, netfilter
// what was redirected by its rules.
func (m *Manager) originalDst(cn *connection) (netip.AddrPort, bool) {
	c := cn.c
	if m.opts.OriginalDst != nil {
		if dst, caller, ok := m.opts.OriginalDst.OriginalDst(cookie(cn.info.Namespace), c.Remote(), c.Local()); ok {
			cn.info.Cgroup = caller
			return conn.Unmap(dst), true
		}
	}
	return netfilterDst(c)
}

// cookie is 0 for weir's own namespace.
func cookie(n *streaminfo.Namespace) uint64 {
	if n == nil {
		return 0
	}
	return n.Cookie
}

// netfilterDst asks SO_ORIGINAL_DST; false when no rule redirected the connection.
func netfilterDst(c *conn.Conn) (dst netip.AddrPort, ok bool) {
	if !c.Local().IsValid() {
		return dst, false
	}
	_ = c.Control(func(fd int) error { // closed means unknown
		if c.Local().Addr().Is4() {
			dst, ok = originalDst4(fd)
		} else {
			dst, ok = originalDst6(fd)
		}
		return nil
	})
	// netfilter answers for tracked connections that it did not redirect, too.
	return dst, ok && dst != c.Local()
}

// originalDst4 reads a sockaddr_in by way of an option value that is at least as long.
func originalDst4(fd int) (netip.AddrPort, bool) {
	v, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
	if err != nil || binary.NativeEndian.Uint16(v.Multiaddr[:]) != syscall.AF_INET {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(v.Multiaddr[4:8])), binary.BigEndian.Uint16(v.Multiaddr[2:])), true
}

// originalDst6 reads a sockaddr_in6, which starts an ip6_mtuinfo.
func originalDst6(fd int) (netip.AddrPort, bool) {
	v, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, soOriginalDst)
	if err != nil || v.Addr.Family != syscall.AF_INET6 {
		return netip.AddrPort{}, false
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], v.Addr.Port)
	return netip.AddrPortFrom(netip.AddrFrom16(v.Addr.Addr).Unmap(), binary.BigEndian.Uint16(port[:])), true
}

// How the listener filter is known that has to be told of the original destination.
const (
	originalDstType = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
	originalDstName = "envoy.filters.listener.original_dst"
)

// wantsOriginalDst tells whether a connection of the listener, accepted at local, is to know where it was redirected from before the
// filters run.
func wantsOriginalDst(a *active, local netip.AddrPort) bool {
	if a.cfg.UseOriginalDst {
		return true
	}
	for _, lf := range a.cfg.ListenerFilters {
		if lf.Disabled != nil && lf.Disabled.Matches(local) {
			continue
		}
		if lf.TypeURL == originalDstType || lf.Name == originalDstName && lf.Discovery == nil {
			return true
		}
	}
	for _, d := range a.discovered {
		if d.disabled != nil && d.disabled.Matches(local) {
			continue
		}
		if c := d.cfg.Choose(d.find(d.name)); c != nil && c.TypeURL == originalDstType {
			return true
		}
	}
	return false
}
