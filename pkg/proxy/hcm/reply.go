package hcm

import (
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Reply implements filter.Host. What the route and the caller say about headers comes first, then local_reply_config. gRPC
// requests get their answer as a trailers-only response with status 200, the code mapped from the HTTP status and the body
// as grpc-message.
func (s *stream) Reply(_ *filter.Stream, r filter.Reply) *message.Response {
	resp := s.Response
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	resp.Reset()
	s.info.Flags |= r.Flags
	s.info.Details, s.info.LocalReplyBody = r.Details, r.Body
	resp.Status, resp.Version = r.Status, s.Request.Version
	if r.Status == 400 && resp.Version < message.HTTP2 && !s.conn.m.cfg.HTTP1.StreamErrors {
		s.src.CloseAfter() // as in Envoy: who sends such requests may not mean what follows as we read it
	}
	if s.route.Rules != nil {
		s.route.Rules.FinalizeResponse(&s.Stream, &s.route, resp)
	}
	if r.Modify != nil {
		r.Modify(resp)
	}
	body, contentType := r.Body, "text/plain"
	if l := s.conn.m.localReply; l != nil {
		body, contentType = l.apply(s, resp, r.Body)
	} else if resp.Headers.Has(message.ContentType) {
		contentType = ""
	}
	if format.IsGRPC(s.Request.Headers.Get(message.ContentType)) {
		s.replyGRPC(resp, body)
	} else {
		s.replyBody(resp, body, contentType)
	}
	return resp
}

// replyGRPC makes a reply one that gRPC clients understand.
func (s *stream) replyGRPC(resp *message.Response, body string) {
	h := &resp.Headers
	h.SetID(message.ContentType, "application/grpc")
	if h.Get(message.GRPCStatus) == "" {
		h.SetID(message.GRPCStatus, strconv.FormatUint(format.GRPCFromHTTP(resp.Status), 10))
	}
	resp.Status = 200
	h.DelID(message.ContentLength)
	if body = strings.TrimSuffix(body, "\n"); body != "" {
		h.SetID(message.GRPCMessage, s.Arena.End(appendPercent(s.Arena.Begin(), body)))
	}
}

// replyBody attaches the body; contentType is empty when the headers have it already.
func (s *stream) replyBody(resp *message.Response, body, contentType string) {
	h := &resp.Headers
	if body == "" || resp.Status < 200 || resp.Status == 204 || resp.Status == 304 {
		h.DelID(message.ContentType)
		h.DelID(message.ContentLength)
		return
	}
	h.SetID(message.ContentLength, s.Arena.Int(int64(len(body))))
	if contentType != "" {
		h.SetID(message.ContentType, contentType)
	}
	resp.ContentLength = int64(len(body))
	if s.Request.Method != "HEAD" {
		s.reply = *message.NewString(body)
		resp.Body = &s.reply
	}
}

// appendPercent encodes a grpc-message (gRPC over HTTP/2: Status-Message).
func appendPercent(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '%' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
