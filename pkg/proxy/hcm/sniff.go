package hcm

import (
	"fmt"
	"net"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/http/h2"
)

// preface begins every HTTP/2 connection of a client (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// prepender is a connection that can give bytes back which were read from it; *conn.Conn is one.
type prepender interface {
	Prepend(p []byte, free func())
}

// newServer chooses the codec: as configured, else by ALPN, else by the first bytes.
func (m *Manager) newServer(fc *filter.Connection) (codec.Server, error) {
	c := fc.Conn
	two := m.cfg.CodecType == model.CodecHTTP2
	if m.cfg.CodecType == model.CodecAuto {
		switch alpn := negotiated(fc); alpn {
		case "h2":
			two = true
		case "":
			var err error
			if c, two, err = sniff(c); err != nil {
				return nil, err
			}
		}
	}
	if !two {
		return h1.NewServer(c, h1.ServerOptions{
			HTTP1: m.cfg.HTTP1, MaxHeadersBytes: m.cfg.MaxRequestHeadersBytes, MaxHeadersCount: m.cfg.MaxHeadersCount,
			MaxRequests: m.cfg.MaxRequestsPerConnection, Proxy100Continue: m.cfg.Proxy100Continue, Scheme: scheme(fc),
			UnderscoresAction: m.cfg.UnderscoresAction, LingerTimeout: some(m.cfg.DelayedCloseTimeout), Buffers: m.deps.Buffers,
			IgnoreUpgrade: m.ignoreUpgrade, Stats: m.stats.one(),
		}), nil
	}
	if m.deps.HTTP2 != nil {
		s, err := m.deps.HTTP2(c, m.cfg)
		if err != nil {
			return nil, fmt.Errorf("start http/2: %w", err)
		}
		return s, nil
	}
	return h2.NewServer(c, h2.ServerOptions{
		HTTP2: m.cfg.HTTP2, MaxHeadersBytes: m.cfg.MaxRequestHeadersBytes, MaxHeadersCount: m.cfg.MaxHeadersCount,
		MaxRequests: m.cfg.MaxRequestsPerConnection, Scheme: scheme(fc), UnderscoresAction: m.cfg.UnderscoresAction,
		Proxy100Continue: m.cfg.Proxy100Continue, DrainTimeout: some(m.cfg.DrainTimeout), LingerTimeout: some(m.cfg.DelayedCloseTimeout),
		Stats: m.stats.two(), Shared: m.shared, Panicked: fc.Panicked,
	}), nil
}

// some makes the shortest time of 0, which codecs take for their default.
func some(d time.Duration) time.Duration { return max(d, 1) }

func negotiated(fc *filter.Connection) string {
	if fc.Info.TLS != nil {
		return fc.Info.TLS.NegotiatedProtocol
	}
	return ""
}

func scheme(fc *filter.Connection) string {
	if fc.Info.TLS != nil {
		return "https"
	}
	return "http"
}

// sniff reads until the bytes are or are not the HTTP/2 preface, and returns a connection that gives them again.
func sniff(c net.Conn) (net.Conn, bool, error) {
	buf := make([]byte, 0, len(preface))
	for len(buf) < len(preface) && string(buf) == preface[:len(buf)] {
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && len(buf) == 0 {
			return nil, false, fmt.Errorf("read the first bytes: %w", err)
		}
		if err != nil {
			break
		}
	}
	two := string(buf) == preface
	if p, ok := c.(prepender); ok {
		p.Prepend(buf, func() {})
		return c, two, nil
	}
	return &replay{Conn: c, first: buf}, two, nil
}

// replay is a connection whose first bytes were read already.
type replay struct {
	net.Conn
	first []byte
}

// Read gives the first bytes again, then reads on.
func (r *replay) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		r.first = r.first[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}
