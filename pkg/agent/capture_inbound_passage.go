package agent

import (
	"net/netip"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

var (
	_ conn.Passage   = (*inboundCapture)(nil)
	_ listener.Loops = (*inboundCapture)(nil)
)

// passage is a connection to an application.
type passage struct {
	netns          uint64
	client, server netip.AddrPort
}

// of is the namespace's cookie; 0 stands for weir's own.
func (c *inboundCapture) of(cookie uint64) uint64 {
	if cookie == 0 {
		return c.cookie.Load()
	}
	return cookie
}

func (c *inboundCapture) passage(in *streaminfo.Namespace, client, server netip.AddrPort) passage {
	var cookie uint64
	if in != nil {
		cookie = in.Cookie
	}
	return passage{c.of(cookie), bare(client), bare(server)}
}

// bare is an address as the kernel side knows it, without a scope.
func bare(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// Let implements conn.Passage.
func (c *inboundCapture) Let(in *streaminfo.Namespace, client, server, peer netip.AddrPort) error {
	k := c.kernel.Load()
	if k == nil {
		return nil
	}
	p := c.passage(in, client, server)
	c.passing.Store(p, nil)
	if peer.IsValid() {
		peer = bare(peer)
		if err := c.unnamed.Load(); err != nil {
			c.Lost(peer, *err)
		}
	}
	if err := k.Own(p.netns, p.client, p.server, peer); err != nil {
		c.passing.Delete(p)
		return err
	}
	return nil
}

// End implements conn.Passage.
func (c *inboundCapture) End(in *streaminfo.Namespace, client, server netip.AddrPort) {
	if k := c.kernel.Load(); k != nil {
		p := c.passage(in, client, server)
		c.passing.Delete(p)
		k.Disown(p.netns, p.client, p.server)
	}
}

// Lost implements conn.Passage.
func (c *inboundCapture) Lost(source netip.AddrPort, err error) {
	if c.lost.Add(1) == 1 {
		c.log.Warn("an upstream sees weir's address instead of the client's; weir.inbound.source_lost counts such connections", "client", source, "error", err)
	}
}

// OwnConnection implements listener.Loops.
func (c *inboundCapture) OwnConnection(netns uint64, client, server netip.AddrPort) bool {
	_, own := c.passing.Load(passage{c.of(netns), bare(client), bare(server)})
	return own
}
