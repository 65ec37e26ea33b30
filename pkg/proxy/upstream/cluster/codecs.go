package cluster

import (
	"fmt"
	"net"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/http/h2"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/pool"
)

// codecs are weir's own.
type codecs struct {
	buffers *h1.Buffers
}

var _ pool.Codecs = (*codecs)(nil)

func newCodecs() *codecs { return &codecs{buffers: h1.NewBuffers()} }

// HTTP1 implements pool.Codecs.
func (c *codecs) HTTP1(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, released func(left codec.Fate)) pool.Client1 {
	return h1.NewClientConn(nc, h1.ClientOptions{Info: info, HTTP1: o.HTTP1, Release: released, Buffers: c.buffers})
}

// HTTP2 implements pool.Codecs.
func (c *codecs) HTTP2(nc net.Conn, info codec.ConnInfo, o *model.UpstreamHTTP, gone func()) (pool.Client2, error) {
	cc, err := h2.NewClientConn(nc, h2.ClientOptions{Info: info, HTTP2: o.HTTP2, Gone: gone})
	if err != nil {
		return nil, fmt.Errorf("start HTTP/2: %w", err)
	}
	return cc, nil
}
