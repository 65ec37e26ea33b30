package h1

import (
	"bytes"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// responseRules is what parsing responses depends on.
type responseRules struct {
	limits
	http1 model.HTTP1Options
}

// parsedResponse is what the client needs beside the message.
type parsedResponse struct {
	frame     framing
	keepAlive bool
}

// parseResponse reads the head at the start of b into resp and returns how long it is; 0 without error when b ends before
// it. method and protocol are those of the request; names is nil unless field names are kept.
func parseResponse(b []byte, resp *message.Response, method, protocol string, rules *responseRules, names *message.Names) (p parsedResponse, n int, bad *codec.Error) {
	eol := bytes.IndexByte(b, '\n')
	if eol < 0 {
		return p, 0, nil
	}
	if eol < 1 || b[eol-1] != '\r' {
		return p, 0, malformed("bare_lf", detailsCodec, "status line without carriage return")
	}
	if bad := parseStatusLine(b[:eol-1], resp); bad != nil {
		return p, 0, bad
	}
	if names != nil && rules.http1.ForwardReason && eol > 14 {
		names.Reason = view(b[13 : eol-1])
	}
	ctl := control{names: names}
	fields, bad := parseFields(b[eol+1:], &resp.Headers, &rules.limits, &ctl)
	if fields == 0 {
		return p, 0, bad
	}
	resp.Names = names
	p.keepAlive = !ctl.close && (resp.Version == message.HTTP11 || ctl.keepAlive)
	if bad == nil {
		bad = frameResponse(resp, &ctl, method, protocol, rules, &p)
	}
	return p, eol + 1 + fields, bad
}

// parseStatusLine reads "HTTP/1.x SP 3DIGIT [SP reason]" (RFC 9112 section 4).
func parseStatusLine(line []byte, resp *message.Response) *codec.Error {
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return malformed("bad_status_line", detailsCodec, "invalid status line %q", line[:min(len(line), 64)])
	}
	switch string(line[:8]) {
	case "HTTP/1.1":
		resp.Version = message.HTTP11
	case "HTTP/1.0":
		resp.Version = message.HTTP10
	default:
		return malformed("bad_version", detailsCodec, "unsupported version %q", line[:8])
	}
	status := 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return malformed("bad_status", detailsCodec, "invalid status %q", line[9:12])
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 || status > 599 {
		return malformed("bad_status", detailsCodec, "status %d is out of range", status)
	}
	if !cleanValue(line[12:]) {
		return malformed("bad_status_line", detailsCodec, "control character in the reason phrase")
	}
	resp.Status = status
	return nil
}

// frameResponse decides where the body ends (RFC 9112 section 6.3).
func frameResponse(resp *message.Response, ctl *control, method, protocol string, rules *responseRules, p *parsedResponse) *codec.Error {
	resp.ContentLength = -1
	tunnel := method == "CONNECT" && resp.Status/100 == 2 || resp.Status == 101
	if resp.Status != 101 && ctl.protocol != "" {
		resp.Headers.DelID(message.Upgrade)
	}
	if resp.Status == 101 && protocol == "" {
		return malformed("unwanted_upgrade", detailsCodec, "101 to a request without upgrade")
	}
	if resp.Status < 200 || resp.Status == 204 || tunnel {
		if ctl.te != codingNone {
			return malformed("te_not_allowed", detailsNoEncoding, "Transfer-Encoding in a %d response", resp.Status)
		}
		if ctl.length > 0 {
			return malformed("cl_not_allowed", detailsNoLength, "Content-Length in a %d response", resp.Status)
		}
		resp.Headers.DelID(message.ContentLength)
		resp.ContentLength = 0
		if tunnel {
			p.frame, p.keepAlive, resp.Upgraded, resp.ContentLength = framedRaw, false, true, -1
		}
		return nil
	}
	if ctl.te == codingChunked && ctl.hasLength {
		if !rules.http1.AllowChunkedLength {
			return malformed("cl_and_te", detailsChunkedLength, "both Content-Length and Transfer-Encoding")
		}
		resp.Headers.DelID(message.ContentLength)
		ctl.hasLength, p.keepAlive = false, false
	}
	if ctl.te == codingChunked && resp.Version == message.HTTP10 {
		return malformed("te_in_http10", detailsNoEncoding, "Transfer-Encoding in an HTTP/1.0 response")
	}
	if ctl.hasLength {
		resp.ContentLength = ctl.length
	}
	switch {
	case method == "HEAD" || resp.Status == 304:
	case ctl.te == codingChunked:
		p.frame = framedChunks
	case !ctl.hasLength:
		p.frame, p.keepAlive = framedEOF, false
	case ctl.length > 0:
		p.frame = framedLength
	}
	return nil
}
