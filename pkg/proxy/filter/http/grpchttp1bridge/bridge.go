// Package grpchttp1bridge is envoy.filters.http.grpc_http1_bridge: it lets HTTP/1.1 clients, which see no trailers, make unary
// gRPC calls. The response is buffered, and the status that its trailers tell becomes that of the HTTP response.
//
// It owns the translation. It must not know codecs. One Filter serves all streams.
package grpchttp1bridge

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/grpcstat"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Config is the decoded configuration. It is immutable.
type Config struct {
	// UpgradeProtobuf makes gRPC calls of requests with the content type application/x-protobuf.
	UpgradeProtobuf bool
	// IgnoreQuery removes the query of the path.
	IgnoreQuery bool
}

var (
	_ filter.Builder = (*Config)(nil)
	_ filter.HTTP    = (*Filter)(nil)
)

// NewHTTP implements filter.Builder.
func (c *Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	limit := d.BufferLimit
	if limit <= 0 {
		limit = defaultLimit
	}
	return &Filter{cfg: c, deps: d, limit: limit, calls: grpcstat.New(grpcstat.GRPC)}, nil
}

// defaultLimit is Envoy's default per_connection_buffer_limit_bytes.
const defaultLimit = 1 << 20

// Filter is the configured filter.
type Filter struct {
	cfg   *Config
	deps  filter.Deps
	limit int
	calls *grpcstat.Counter
}

const (
	grpcType     = "application/grpc"
	protobufType = "application/x-protobuf"
	// frameHead is the length of what comes before a gRPC message: a flag and its length.
	frameHead = 5
)

// Handle implements filter.HTTP.
func (f *Filter) Handle(s *filter.Stream) (*message.Response, error) {
	r := s.Request
	framing := f.cfg.UpgradeProtobuf && r.Headers.Get(message.ContentType) == protobufType
	if !framing && !format.IsGRPC(r.Headers.Get(message.ContentType)) {
		return s.Next()
	}
	call := f.calls.Begin(s, f.deps.Clusters)
	bridging := r.Version < message.HTTP2
	if bridging && f.cfg.IgnoreQuery {
		r.Path, _, _ = strings.Cut(r.Path, "?")
	}
	if framing {
		r.Headers.SetID(message.ContentType, grpcType)
		r.Headers.SetID(message.Accept, grpcType)
		if refused, err := f.frame(s); refused != nil || err != nil {
			return refused, err
		}
	}
	resp, err := s.Next()
	if err != nil {
		return nil, err
	}
	call.Charge(resp.Headers.Get(message.GRPCStatus))
	if resp.Body == nil {
		return resp, nil
	}
	if !bridging {
		resp.Body = filter.WithTrailers(resp.Body, func(t *message.Headers) *message.Headers {
			if t != nil {
				call.Charge(t.Get(message.GRPCStatus))
			}
			return t
		})
		return resp, nil
	}
	return f.bridge(s, resp, call, framing)
}

// frame puts the head of a gRPC message before the request's body, which is one.
func (f *Filter) frame(s *filter.Stream) (refused *message.Response, err error) {
	r := s.Request
	held, err := f.deps.Buffers.Request(s, f.limit)
	switch {
	case errors.Is(err, filter.ErrTooLarge):
		return f.deps.Buffers.RefuseRequest(s), nil
	case err != nil:
		return nil, err
	case held == nil:
		return nil, nil
	}
	n := len(held.Bytes())
	framed := make([]byte, frameHead, frameHead+n)
	binary.BigEndian.PutUint32(framed[1:], uint32(min(n, math.MaxUint32)))
	held.Set(append(framed, held.Bytes()...))
	r.ContentLength = int64(frameHead + n)
	r.Headers.SetID(message.ContentLength, s.Arena.Int(r.ContentLength))
	return nil, nil
}

// bridge waits for the end of the response and says in its head what its trailers say.
func (f *Filter) bridge(s *filter.Stream, resp *message.Response, call grpcstat.Call, framed bool) (*message.Response, error) {
	held, err := f.deps.Buffers.Response(s, resp, f.limit)
	switch {
	case errors.Is(err, filter.ErrTooLarge):
		return f.deps.Buffers.RefuseResponse(s), nil
	case err != nil:
		return nil, err
	}
	h := &resp.Headers
	if t := held.Trailers(); t != nil {
		status := t.Get(message.GRPCStatus)
		call.Charge(status)
		if t.Has(message.GRPCStatus) {
			h.SetID(message.GRPCStatus, s.Arena.Join(status))
			if status != "0" {
				resp.Status = 503
			}
		}
		if t.Has(message.GRPCMessage) {
			h.SetID(message.GRPCMessage, s.Arena.Join(t.Get(message.GRPCMessage)))
		}
	}
	if framed {
		h.SetID(message.ContentType, protobufType)
		if b := held.Bytes(); len(b) >= frameHead {
			held.Set(b[frameHead:])
		}
	}
	resp.ContentLength = int64(len(held.Bytes()))
	h.SetID(message.ContentLength, s.Arena.Int(resp.ContentLength))
	return resp, nil
}
