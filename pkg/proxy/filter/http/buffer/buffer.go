// Package buffer is envoy.filters.http.buffer: it sends a request on when it has come as a whole, so that slow clients do not
// occupy upstream connections, and upstreams learn the length of the body.
//
// It owns nothing but its configuration. It must not know codecs. One Filter serves all streams.
package buffer

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Config is the decoded configuration. It is immutable.
type Config struct {
	// MaxRequestBytes is what a request body may have; one that has more is answered with 413.
	MaxRequestBytes int
}

// PerRoute is what a route says in place of Config.
type PerRoute struct {
	Config
	// Disabled routes stream their requests.
	Disabled bool
}

var (
	_ filter.Builder = (*Config)(nil)
	_ filter.HTTP    = (*Filter)(nil)
)

// NewHTTP implements filter.Builder.
func (c *Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	return &Filter{limit: c.MaxRequestBytes, name: d.Name, buffers: d.Buffers}, nil
}

// Filter is the configured filter.
type Filter struct {
	limit   int
	name    string
	buffers *filter.Buffers
}

// Handle implements filter.HTTP. Upgrades and tunnels are left alone: their stream has no end to wait for.
func (f *Filter) Handle(s *filter.Stream) (*message.Response, error) {
	r := s.Request
	if r.Body == nil || r.Protocol != "" || r.Method == "CONNECT" {
		return s.Next()
	}
	limit := f.limit
	if o, ok := filter.PerRoute[*PerRoute](s, f.name); ok {
		if o.Disabled {
			return s.Next()
		}
		limit = o.MaxRequestBytes
	}
	held, err := f.buffers.Request(s, limit)
	switch {
	case errors.Is(err, filter.ErrTooLarge):
		return f.buffers.RefuseRequest(s), nil
	case err != nil:
		return nil, err
	}
	if r.ContentLength < 0 {
		r.ContentLength = int64(len(held.Bytes()))
		r.Headers.SetID(message.ContentLength, s.Arena.Int(r.ContentLength))
	}
	return s.Next()
}
