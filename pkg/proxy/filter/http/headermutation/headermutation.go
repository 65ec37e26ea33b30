// Package headermutation is envoy.filters.http.header_mutation: it changes headers, trailers and query parameters of requests
// and responses, as the chain and each level of the route configuration say.
//
// It owns which mutations apply to what, and those of query parameters. It must not know routes or codecs. One Filter serves
// all streams.
package headermutation

import (
	"slices"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/headers"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Config is the decoded configuration. It is immutable.
type Config struct {
	mutations
	// mostSpecificWins lets the route have the last word instead of the route configuration.
	mostSpecificWins bool
}

// PerRoute are the mutations of one level of the route configuration.
type PerRoute struct{ mutations }

// mutations are those of one configuration.
type mutations struct {
	request, response, requestTrailers, responseTrailers headers.Mutations
	query                                                []queryStep
}

var (
	_ filter.Builder = (*Config)(nil)
	_ filter.HTTP    = (*Filter)(nil)
)

// NewHTTP implements filter.Builder.
func (c *Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	return &Filter{Config: c, name: d.Name}, nil
}

// Filter is the configured filter.
type Filter struct {
	*Config
	name string
}

// maxLevels are the filter's own configuration and the four levels of routes.
const maxLevels = 5

// Handle implements filter.HTTP.
func (f *Filter) Handle(s *filter.Stream) (*message.Response, error) {
	var own [maxLevels]*mutations
	levels := f.levels(own[:0], s)
	for _, m := range levels {
		m.request.Apply(s, &s.Request.Headers)
		if len(m.query) > 0 {
			s.Request.Path = changeQuery(s, m.query)
		}
	}
	f.requestTrailers(s, levels)
	resp, err := s.Next()
	if err != nil {
		return nil, err
	}
	s.Format.Response, s.Info.ResponseCode = resp, resp.Status
	for _, m := range levels {
		m.response.Apply(s, &resp.Headers)
	}
	f.responseTrailers(s, levels, resp)
	return resp, nil
}

// levels appends the mutations in the order in which they are applied. The routes' ones are those of the route that the
// request has here, for its response too.
func (f *Filter) levels(dst []*mutations, s *filter.Stream) []*mutations {
	dst = append(dst, &f.mutations)
	var found [maxLevels - 1]*PerRoute
	routes := filter.AppendPerRoute(found[:0], s, f.name)
	if f.mostSpecificWins {
		slices.Reverse(routes)
	}
	for _, r := range routes {
		dst = append(dst, &r.mutations)
	}
	if r := s.Host.Route(s); r.Route != nil {
		s.Format.RouteMetadata = r.Route.Metadata
	}
	return dst
}

// requestTrailers has the trailers of the request changed when they come. That may be on another goroutine, which works with
// strings of its own.
func (f *Filter) requestTrailers(s *filter.Stream, levels []*mutations) {
	lists := collect(levels, func(m *mutations) headers.Mutations { return m.requestTrailers })
	if lists == nil || s.Request.Body == nil {
		return
	}
	own := &filter.Stream{Request: s.Request, Info: s.Info, Format: s.Format}
	s.Request.Body = filter.WithTrailers(s.Request.Body, func(t *message.Headers) *message.Headers { return changeTrailers(own, lists, t) })
}

// responseTrailers does so with those of the response.
func (f *Filter) responseTrailers(s *filter.Stream, levels []*mutations, resp *message.Response) {
	lists := collect(levels, func(m *mutations) headers.Mutations { return m.responseTrailers })
	if lists == nil || resp.Body == nil || resp.Upgraded {
		return
	}
	resp.Body = filter.WithTrailers(resp.Body, func(t *message.Headers) *message.Headers {
		s.Format.Trailers = t
		return changeTrailers(s, lists, t)
	})
}

// collect returns the lists of the levels that have one; nil when none has, the usual case.
func collect(levels []*mutations, of func(*mutations) headers.Mutations) []headers.Mutations {
	var out []headers.Mutations
	for _, m := range levels {
		if l := of(m); len(l) > 0 {
			out = append(out, l)
		}
	}
	return out
}

// changeTrailers changes trailers; as in Envoy a message without any gets none.
func changeTrailers(s *filter.Stream, lists []headers.Mutations, t *message.Headers) *message.Headers {
	if t == nil {
		return nil
	}
	for _, l := range lists {
		l.Apply(s, t)
	}
	return t
}
