package hcm

import (
	"strconv"

	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Reply implements filter.Host. gRPC requests get their answer as a trailers-only response with status 200, the code
// mapped from the HTTP status and the body as grpc-message.
func (s *stream) Reply(_ *filter.Stream, r filter.Reply) *message.Response {
	resp := s.Response
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	resp.Reset()
	s.info.Flags |= r.Flags
	s.info.Details = r.Details
	s.info.LocalReplyBody = r.Body
	resp.Status, resp.Version = r.Status, s.Request.Version
	h := &resp.Headers
	if format.IsGRPC(s.Request.Headers.Get(message.ContentType)) {
		resp.Status = 200
		h.AddID(message.ContentType, "application/grpc")
		h.AddID(message.GRPCStatus, strconv.FormatUint(format.GRPCFromHTTP(r.Status), 10))
		if r.Body != "" {
			h.AddID(message.GRPCMessage, s.Arena.End(appendPercent(s.Arena.Begin(), r.Body)))
		}
	} else if r.Body != "" && r.Status >= 200 && r.Status != 204 && r.Status != 304 {
		h.AddID(message.ContentLength, s.Arena.Int(int64(len(r.Body))))
		h.AddID(message.ContentType, "text/plain")
		resp.ContentLength = int64(len(r.Body))
		if s.Request.Method != "HEAD" {
			s.reply = *message.NewString(r.Body)
			resp.Body = &s.reply
		}
	}
	if s.route.Rules != nil {
		s.route.Rules.FinalizeResponse(&s.Stream, &s.route, resp)
	}
	if r.Modify != nil {
		r.Modify(resp)
	}
	return resp
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
