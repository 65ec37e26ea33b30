package cluster

import (
	"context"

	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// DialHost connects to a host that was picked for a request whose place among the cluster's requests the caller holds, for a
// tunnel of bytes. opt may be nil. Errors are as of Connect.
func (c *Cluster) DialHost(ctx context.Context, h *upstream.Host, opt *StreamOptions) (*Lease, error) {
	conns, ok := h.Conns.(*pool.Host)
	if !ok {
		return nil, &upstream.Error{Kind: upstream.KindNoHost, BeforeResponse: true}
	}
	var o StreamOptions
	if opt != nil {
		o = *opt
	}
	raw, id, done, err := conns.TCP(ctx, pool.TCPOptions{SNI: c.serverName(h, o.SNI), HighPriority: o.HighPriority, Origin: o.Origin})
	if err != nil {
		return nil, err
	}
	c.Stats().RqTotal.Inc()
	h.Stats.RqTotal.Add(1)
	h.Stats.RqActive.Add(1)
	return &Lease{
		Conn: raw.Conn, Host: h, Info: codec.ConnInfo{ID: id, Local: raw.Local, Remote: raw.Remote, TLS: raw.TLS},
		end: func() {
			done()
			h.Stats.RqActive.Add(-1)
		},
	}, nil
}
