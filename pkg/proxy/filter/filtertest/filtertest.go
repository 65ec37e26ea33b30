// Package filtertest runs single HTTP filters for their tests, without connections.
//
// It owns a stand-in for the connection manager. Only tests import it.
package filtertest

import (
	"io"
	"slices"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// Run is one stream through one filter.
type Run struct {
	filter.Stream
	// Chosen is the route of the request.
	Chosen filter.Route
	// Replied tells that the filter, or what stands for the rest of the chain, answered by itself.
	Replied bool
	// Cleared counts how often the route was forgotten.
	Cleared int

	next func(*filter.Stream) (*message.Response, error)
}

var _ filter.Host = (*Run)(nil)

// New makes a stream for a request; next stands for the rest of the chain, nil answers 200.
func New(t testing.TB, r *message.Request, next func(*filter.Stream) (*message.Response, error)) *Run {
	t.Helper()
	if next == nil {
		next = func(s *filter.Stream) (*message.Response, error) {
			s.Response.Reset()
			s.Response.Status = 200
			return s.Response, nil
		}
	}
	run := &Run{next: next}
	run.Request, run.Response, run.Info = r, &message.Response{}, &streaminfo.Info{}
	run.Host = run
	run.Format = format.Context{Info: run.Info, Request: r}
	run.Chosen = filter.Route{Config: &model.RouteConfig{}, VirtualHost: &model.VirtualHost{}, Route: &model.Route{}, Cluster: "backend"}
	t.Cleanup(run.Stream.Release)
	return run
}

// Through runs the filter.
func (r *Run) Through(f filter.HTTP) (*message.Response, error) {
	r.SetChain([]filter.HTTP{f, rest{r}})
	return r.Next()
}

type rest struct{ run *Run }

// Handle implements filter.HTTP.
func (n rest) Handle(s *filter.Stream) (*message.Response, error) { return n.run.next(s) }

// Route implements filter.Host.
func (r *Run) Route(*filter.Stream) filter.Route { return r.Chosen }

// ClearRoute implements filter.Host.
func (r *Run) ClearRoute(*filter.Stream) { r.Cleared++ }

// Reply implements filter.Host.
func (r *Run) Reply(s *filter.Stream, reply filter.Reply) *message.Response {
	r.Replied = true
	s.Response.Reset()
	s.Response.Status = reply.Status
	if reply.Body != "" {
		s.Response.Body = message.NewString(reply.Body)
	}
	s.Info.Details = reply.Details
	s.Info.Flags |= reply.Flags
	if reply.Modify != nil {
		reply.Modify(s.Response)
	}
	return s.Response
}

// Informational implements filter.Host.
func (r *Run) Informational(*filter.Stream, *message.Response) error { return nil }

// Watch implements filter.Host.
func (r *Run) Watch(*filter.Stream, filter.Aborter) error { return nil }

// Finish implements filter.Host.
func (r *Run) Finish(*filter.Stream, filter.Ender) {}

// RequestComplete implements filter.Host.
func (r *Run) RequestComplete(*filter.Stream) bool { return true }

// Deps is what a filter named name gets in tests, with its statistics in store below "http.test.".
func Deps(store *stats.Store, name string) filter.Deps {
	scope := store.Root().Scope("http.test.")
	return filter.Deps{Name: name, Stats: scope, Buffers: filter.NewBuffers(scope), LocalCluster: "local"}
}

// Body is a body that comes in the given pieces, with these trailers.
func Body(trailers *message.Headers, pieces ...string) message.Body {
	return &body{pieces: slices.Clone(pieces), trailers: trailers}
}

type body struct {
	pieces   []string
	trailers *message.Headers
}

// Read implements message.Body.
func (b *body) Read(p []byte) (int, error) {
	for len(b.pieces) > 0 && b.pieces[0] == "" {
		b.pieces = b.pieces[1:]
	}
	if len(b.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.pieces[0])
	b.pieces[0] = b.pieces[0][n:]
	return n, nil
}

// Trailers implements message.Body.
func (b *body) Trailers() *message.Headers { return b.trailers }

// Close implements message.Body.
func (b *body) Close() error { return nil }

// Headers are made of names and values in turn.
func Headers(pairs ...string) message.Headers {
	var h message.Headers
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// Clusters are clusters by name that have nothing but statistics.
type Clusters map[string]*Cluster

// Cluster implements filter.Clusters.
func (c Clusters) Cluster(name string) filter.Cluster {
	if x := c[name]; x != nil {
		return x
	}
	return nil
}

// Cluster has nothing but statistics; anything else of it panics.
type Cluster struct {
	filter.Cluster
	stats *metrics.Cluster
}

// NewCluster makes a cluster whose statistics are in store.
func NewCluster(store *stats.Store, name string) *Cluster {
	return &Cluster{stats: metrics.NewCluster(store.Root().Scope("cluster." + name + "."))}
}

// Stats implements filter.Cluster.
func (c *Cluster) Stats() *metrics.Cluster { return c.stats }

// Counter is the value of a counter, 0 when there is none.
func Counter(store *stats.Store, name string) uint64 {
	for _, c := range store.Counters() {
		if c.Name() == name {
			return c.Value()
		}
	}
	return 0
}
