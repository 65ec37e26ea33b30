package format

import (
	"net/netip"
	"strconv"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func addressOperators() map[string]operator {
	ops := map[string]operator{
		"UPSTREAM_HOST":      text(appendUpstreamHost),
		"UPSTREAM_HOST_NAME": text(appendUpstreamHostName),
	}
	add := func(prefix string, of func(*Context) netip.AddrPort) {
		ops[prefix+"_ADDRESS"] = text(addressOf(of, appendAddrPort))
		ops[prefix+"_ADDRESS_WITHOUT_PORT"] = text(addressOf(of, func(dst []byte, a netip.AddrPort) []byte { return a.Addr().AppendTo(dst) }))
		ops[prefix+"_PORT"] = number(addressOf(of, func(dst []byte, a netip.AddrPort) []byte {
			return strconv.AppendUint(dst, uint64(a.Port()), 10)
		}))
	}
	downstream := func(f func(*streaminfo.Connection) netip.AddrPort) func(*Context) netip.AddrPort {
		return func(c *Context) netip.AddrPort {
			if c.Info.Conn == nil {
				return netip.AddrPort{}
			}
			return f(c.Info.Conn)
		}
	}
	remote := downstream(func(c *streaminfo.Connection) netip.AddrPort { return c.Remote })
	add("UPSTREAM_LOCAL", func(c *Context) netip.AddrPort { return c.Info.Upstream.Local })
	add("UPSTREAM_REMOTE", func(c *Context) netip.AddrPort { return c.Info.Upstream.Host })
	add("DOWNSTREAM_REMOTE", func(c *Context) netip.AddrPort {
		if c.Client.IsValid() {
			return c.Client
		}
		return remote(c)
	})
	add("DOWNSTREAM_DIRECT_REMOTE", downstream(func(c *streaminfo.Connection) netip.AddrPort { return c.DirectRemote }))
	add("DOWNSTREAM_LOCAL", downstream(func(c *streaminfo.Connection) netip.AddrPort { return c.Local }))
	return ops
}

func appendAddrPort(dst []byte, a netip.AddrPort) []byte { return a.AppendTo(dst) }

func addressOf(of func(*Context) netip.AddrPort, form func([]byte, netip.AddrPort) []byte) appender {
	return func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil {
			return dst, false
		}
		a := of(c)
		if !a.IsValid() {
			return dst, false
		}
		return form(dst, a), true
	}
}

func appendUpstreamHost(dst []byte, c *Context) ([]byte, bool) {
	switch {
	case c.Info == nil:
		return dst, false
	case c.Info.Upstream.Pipe != "":
		return append(dst, c.Info.Upstream.Pipe...), true
	case c.Info.Upstream.Host.IsValid():
		return c.Info.Upstream.Host.AppendTo(dst), true
	}
	return dst, false
}

func appendUpstreamHostName(dst []byte, c *Context) ([]byte, bool) {
	if c.Info != nil && c.Info.Upstream.Hostname != "" {
		return append(dst, c.Info.Upstream.Hostname...), true
	}
	return appendUpstreamHost(dst, c)
}
