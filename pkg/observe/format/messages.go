package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func messageOperators() map[string]operator {
	return map[string]operator{
		"REQ":                {args: argsRequired, length: true, bind: bindRequestHeader},
		"RESP":               {args: argsRequired, length: true, bind: bindResponseHeader},
		"TRAILER":            {args: argsRequired, length: true, bind: bindTrailer},
		"REQ_WITHOUT_QUERY":  {args: argsRequired, length: true, bind: bindRequestWithoutQuery},
		"GRPC_STATUS":        {args: argsOptional, bind: bindGRPCStatus},
		"GRPC_STATUS_NUMBER": number(appendGRPCNumber),
	}
}

// headerName is a name whose ID was looked up when the format was compiled.
type headerName struct {
	id   message.ID
	name string // lower case
}

// headerPair is "X?Y": the main name and what stands in when it is missing.
type headerPair struct{ main, alternative headerName }

func parseHeaderPair(args string) (headerPair, error) {
	main, alternative, _ := strings.Cut(args, "?")
	if main == "" {
		return headerPair{}, errors.New("needs a header name")
	}
	if strings.Contains(alternative, "?") {
		return headerPair{}, fmt.Errorf("%q holds more than one alternative", args)
	}
	if strings.ContainsAny(args, " \t\r\n\x00") {
		return headerPair{}, fmt.Errorf("%q is not a header name", args)
	}
	return headerPair{newHeaderName(main), newHeaderName(alternative)}, nil
}

func newHeaderName(s string) headerName {
	s = strings.ToLower(s)
	return headerName{id: message.IDOf(s), name: s}
}

func (n *headerName) in(h *message.Headers) (string, bool) {
	if n.id == message.Other {
		return h.Lookup(n.name)
	}
	v := h.Get(n.id)
	return v, v != "" || h.Has(n.id)
}

func (n *headerName) inRequest(r *message.Request) (string, bool) {
	if n.id == message.Host || strings.HasPrefix(n.name, ":") {
		return r.Lookup(n.name)
	}
	return n.in(&r.Headers)
}

func bindRequestHeader(args string) (appender, error) {
	p, err := parseHeaderPair(args)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, c *Context) ([]byte, bool) {
		v, ok := p.inRequest(c.Request)
		return append(dst, v...), ok
	}, nil
}

func (p *headerPair) inRequest(r *message.Request) (string, bool) {
	if r == nil {
		return "", false
	}
	v, ok := p.main.inRequest(r)
	if !ok && p.alternative.name != "" {
		v, ok = p.alternative.inRequest(r)
	}
	return v, ok
}

func bindRequestWithoutQuery(args string) (appender, error) {
	p, err := parseHeaderPair(args)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, c *Context) ([]byte, bool) {
		v, ok := p.inRequest(c.Request)
		if i := strings.IndexByte(v, '?'); i >= 0 {
			v = v[:i]
		}
		return append(dst, v...), ok
	}, nil
}

func bindResponseHeader(args string) (appender, error) {
	p, err := parseHeaderPair(args)
	if err != nil {
		return nil, err
	}
	status := p.main.name == ":status"
	return func(dst []byte, c *Context) ([]byte, bool) {
		switch {
		case c.Response == nil:
			return dst, false
		case status:
			return strconv.AppendInt(dst, int64(c.Response.Status), 10), c.Response.Status != 0
		}
		return p.appendFrom(dst, &c.Response.Headers)
	}, nil
}

func bindTrailer(args string) (appender, error) {
	p, err := parseHeaderPair(args)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, c *Context) ([]byte, bool) {
		if c.Trailers == nil {
			return dst, false
		}
		return p.appendFrom(dst, c.Trailers)
	}, nil
}

func (p *headerPair) appendFrom(dst []byte, h *message.Headers) ([]byte, bool) {
	v, ok := p.main.in(h)
	if !ok && p.alternative.name != "" {
		v, ok = p.alternative.in(h)
	}
	return append(dst, v...), ok
}
