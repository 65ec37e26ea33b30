package cluster

import (
	"cmp"
	"fmt"
	"net"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/http/h2"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// defaultHTTP1HeadersBytes is Envoy's bound of an HTTP/1 response head; HTTP/2 has 60 KiB.
const defaultHTTP1HeadersBytes = 80 << 10

// codecs are weir's own, for the connections of one cluster.
type codecs struct {
	buffers *h1.Buffers
	shared  *h2.Shared
	// two looks up cluster.<name>.http2.*, which are there from the first HTTP/2 connection on, as in Envoy.
	two func() *h2.Stats
	// one is two for HTTP/1: what hosts do wrong.
	one func() *h1.Stats
}

var _ pool.Codecs = (*codecs)(nil)

func newCodecs(buffers *h1.Buffers, scope *stats.Scope) *codecs {
	return &codecs{
		buffers: buffers, shared: h2.NewShared(), two: sync.OnceValue(func() *h2.Stats { return h2.NewStats(scope) }),
		one: sync.OnceValue(func() *h1.Stats { return h1.NewStats(scope, scope, nil) }),
	}
}

// HTTP1 implements pool.Codecs.
func (c *codecs) HTTP1(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, released func(left codec.Fate)) pool.Client1 {
	return h1.NewClientConn(nc, h1.ClientOptions{
		Info: info, HTTP1: o.HTTP1, Release: released, Buffers: c.buffers,
		MaxHeadersBytes: cmp.Or(o.MaxHeadersBytes, defaultHTTP1HeadersBytes), MaxHeadersCount: o.MaxHeadersCount,
		Stats: c.one(),
	})
}

// HTTP2 implements pool.Codecs.
func (c *codecs) HTTP2(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, released, gone func()) (pool.Client2, error) {
	cc, err := h2.NewClientConn(nc, h2.ClientOptions{
		Info: info, HTTP2: o.HTTP2, Release: released, Gone: gone, MaxHeadersBytes: o.MaxHeadersBytes,
		MaxHeadersCount: o.MaxHeadersCount, Stats: c.two(), Shared: c.shared,
	})
	if err != nil {
		return nil, fmt.Errorf("start HTTP/2: %w", err)
	}
	return cc, nil
}
