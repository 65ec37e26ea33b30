// Package grpcweb is envoy.filters.http.grpc_web: it turns the calls of gRPC-Web clients, which browsers are, into gRPC ones
// and the responses back: trailers become the last frame of the body, and text forms are base64.
//
// It owns the translation of bodies. It must not know codecs. One Filter serves all streams.
// The protocol is described in grpc/doc/PROTOCOL-WEB.md.
package grpcweb

import (
	"errors"
	"io"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/grpcstat"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Config is the decoded configuration, which has no fields.
type Config struct{}

var (
	_ filter.Builder = (*Config)(nil)
	_ filter.HTTP    = (*Filter)(nil)
)

// NewHTTP implements filter.Builder.
func (*Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	return &Filter{deps: d, calls: grpcstat.New(grpcstat.GRPCWeb)}, nil
}

// Filter is the configured filter.
type Filter struct {
	deps  filter.Deps
	calls *grpcstat.Counter
}

// Content types of gRPC-Web and gRPC.
const (
	typeWeb       = "application/grpc-web"
	typeWebProto  = "application/grpc-web+proto"
	typeText      = "application/grpc-web-text"
	typeTextProto = "application/grpc-web-text+proto"
	typeGRPC      = "application/grpc"
)

// Handle implements filter.HTTP.
func (f *Filter) Handle(s *filter.Stream) (*message.Response, error) {
	r := s.Request
	contentType := r.Headers.Get(message.ContentType)
	switch contentType {
	case typeWeb, typeWebProto, typeText, typeTextProto:
	default:
		return s.Next()
	}
	call := f.calls.Begin(s, f.deps.Clusters)
	accept := r.Headers.Get(message.Accept)
	text := accept == typeText || accept == typeTextProto
	body := changeRequest(r, isText(contentType))
	resp, err := s.Next()
	if body != nil && body.bad.Load() != nil {
		r.Headers.SetID(message.ContentType, contentType) // it never became a gRPC call
		resp, err = refuse(s, *body.bad.Load()), nil
	}
	if err != nil {
		return nil, err
	}
	if err := changeResponse(s, resp, call, text); err != nil {
		return nil, err
	}
	return resp, nil
}

func isText(contentType string) bool { return contentType == typeText || contentType == typeTextProto }

// changeRequest makes a gRPC request of a gRPC-Web one; it returns the body that decodes a text form, nil for others.
func changeRequest(r *message.Request, text bool) *textBody {
	h := &r.Headers
	h.SetID(message.ContentType, typeGRPC)
	h.SetID(message.TE, "trailers")
	h.SetID(message.GRPCAcceptEncoding, "identity,deflate,gzip")
	h.DelID(message.ContentLength)
	if r.Body == nil {
		return nil
	}
	r.ContentLength = -1
	if !text {
		return nil
	}
	body := &textBody{Body: r.Body}
	r.Body = body
	return body
}

// refuse answers a request whose base64 was broken.
func refuse(s *filter.Stream, bad error) *message.Response {
	details := "grpc_base_64_decode_failed"
	if errors.Is(bad, errBadSize) {
		details = "grpc_base_64_decode_failed_bad_size"
	}
	return s.Reply(filter.Reply{
		Status: 400, Body: "Bad gRPC-web request, invalid base64 data.", Details: details,
	})
}

// maxMessage bounds what of a foreign response's body becomes the grpc-message, in bytes.
const maxMessage = 16 << 10

// changeResponse makes a gRPC-Web response of what the upstream answered.
func changeResponse(s *filter.Stream, resp *message.Response, call grpcstat.Call, text bool) error {
	h := &resp.Headers
	call.Charge(h.Get(message.GRPCStatus))
	if resp.Body != nil && !isGRPC(h.Get(message.ContentType)) {
		if err := explain(s, resp); err != nil {
			return err
		}
	}
	if text {
		h.SetID(message.ContentType, typeTextProto)
	} else {
		h.SetID(message.ContentType, typeWebProto)
	}
	if resp.Body == nil {
		return nil
	}
	h.DelID(message.ContentLength)
	resp.ContentLength = -1
	resp.Body = newFramed(resp.Body, text, call)
	return nil
}

func isGRPC(contentType string) bool {
	switch contentType {
	case typeWeb, typeWebProto, typeText, typeTextProto:
		return true
	}
	return format.IsGRPC(contentType)
}

// explain turns a response that is not one of gRPC, such as the error page of something in between, into a status with what
// its body says as the message.
func explain(s *filter.Stream, resp *message.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	h := &resp.Headers
	if !h.Has(message.GRPCStatus) {
		h.SetID(message.GRPCStatus, s.Arena.Int(int64(format.GRPCFromHTTP(resp.Status))))
	}
	h.SetID(message.GRPCMessage, s.Arena.End(appendPercent(s.Arena.Begin(), text)))
	h.SetID(message.ContentLength, "0")
	resp.Body, resp.ContentLength = nil, 0
	return nil
}

// appendPercent encodes a grpc-message (gRPC over HTTP/2: Status-Message).
func appendPercent(dst, s []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range s {
		if c < 0x20 || c > 0x7e || c == '%' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
