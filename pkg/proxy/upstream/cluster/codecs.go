package cluster

import (
	"errors"
	"net"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// HTTP2 speaks HTTP/2 on a connection; see pool.Codecs.
type HTTP2 func(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, changed func()) (pool.Client2, error)

// codecs are weir's own.
type codecs struct {
	buffers *h1.Buffers
	http2   HTTP2
}

var _ pool.Codecs = (*codecs)(nil)

func newCodecs(http2 HTTP2) *codecs { return &codecs{buffers: h1.NewBuffers(), http2: http2} }

// HTTP1 implements pool.Codecs.
func (c *codecs) HTTP1(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, released func(reusable bool)) pool.Client1 {
	return h1.NewClientConn(nc, h1.ClientOptions{Info: info, HTTP1: o.HTTP1, Release: released, Buffers: c.buffers})
}

// HTTP2 implements pool.Codecs.
func (c *codecs) HTTP2(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, changed func()) (pool.Client2, error) {
	if c.http2 == nil {
		return nil, errors.New("start HTTP/2: no codec")
	}
	return c.http2(nc, info, o, changed)
}
