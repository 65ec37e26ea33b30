// Package filter declares what network and HTTP filters are, and the registry that names them by type URL.
//
// It owns the interfaces between the proxy and its filters; each filter is a package of its own below this one. It must
// not know any filter, codec or connection manager. A filter's configured value is shared by all streams and immutable;
// Stream and Connection belong to one goroutine.
package filter

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// HTTP is a configured HTTP filter: plain blocking Go. It may answer by itself (Stream.Reply), or call Stream.Next, which
// runs the rest of the chain and returns the response, whose head and body it may change or wrap before it returns it.
type HTTP interface {
	// Handle serves the stream. An error means that there is no response: the stream is reset.
	Handle(s *Stream) (*message.Response, error)
}

// Host is the part of the connection manager that filters may call; the connection manager implements it.
type Host interface {
	// Route returns the route of the request, choosing it when it was not yet; its Route is nil when nothing matched.
	Route(s *Stream) Route
	// ClearRoute forgets the chosen route, after a filter changed what routes are matched by.
	ClearRoute(s *Stream)
	// Reply builds a local reply, with Envoy's mapping for gRPC requests.
	Reply(s *Stream, r Reply) *message.Response
	// Informational sends a 1xx response at once, where the connection manager lets such responses pass.
	Informational(s *Stream, r *message.Response) error
	// Watch names what an abort of the stream (timer, downstream gone, connection closed) must abort too; nil ends that.
	// It returns the reason when the stream was aborted already, and then does not keep a.
	Watch(s *Stream, a Aborter) error
	// Finish names what is told when the response was sent or given up. A later call ends what an earlier one named, so it
	// must come before anything of the new exchange is set up.
	Finish(s *Stream, e Ender)
	// RequestComplete tells whether the whole request was received, and when (Info.Timing.LastDownstreamRx).
	RequestComplete(s *Stream) bool
}

// Aborter is something that blocks on behalf of a stream and can be made to stop from any goroutine.
type Aborter interface {
	Abort(err error)
}

// Ender is told of the end of its stream, on the stream's goroutine.
type Ender interface {
	// End completes what is known about the stream, before the access log is written.
	End()
	// Release gives back what the stream's messages may still have been using, after it.
	Release()
}

// Route is a chosen route with the objects it was found in.
type Route struct {
	Config      *model.RouteConfig
	VirtualHost *model.VirtualHost
	// Route is nil when nothing matched.
	Route *model.Route
	// Weighted is the chosen entry of a weighted split, nil otherwise.
	Weighted *model.WeightedCluster
	// Cluster is the chosen cluster's name; "" when Route has no Action.
	Cluster string
	// Rules applies what the route says about messages; nil exactly when Route is.
	Rules Rules
	// VirtualCluster and Records count the request (Count, CountResponse); nil where there is nothing to count for.
	VirtualCluster, Records *Records
}

// Rules changes messages as a route, its virtual host and its route configuration say; pkg/proxy/router implements it.
// The route is passed along because a weighted cluster adds its own mutations.
type Rules interface {
	// FinalizeRequest applies header mutations, then host and path rewrites. keepPath adds x-envoy-original-path when
	// the path changes.
	FinalizeRequest(s *Stream, r *Route, keepPath bool)
	// FinalizeResponse applies the response header mutations.
	FinalizeResponse(s *Stream, r *Route, resp *message.Response)
	// Location is the target of the route's Redirect for this request.
	Location(s *Stream, r *Route) string
	// Retry is the policy of the route, else of the virtual host; nil when there is none.
	Retry() *model.RetryPolicy
	// BufferLimit is how many bytes of a request body are kept for retries and mirroring, where the connection keeps up to
	// the given number.
	BufferLimit(connection int) int
	// Descriptors appends the rate limit descriptors of the request. Their entries live as long as the stream.
	Descriptors(dst []Descriptor, s *Stream, r *Route, level RateLimitLevel) []Descriptor
}

// ErrRestart is returned in place of a response when the request was changed so that it has to go through the whole chain
// again, as an internal redirect does; read only.
var ErrRestart = errors.New("the request goes through the filters again")

// Reply is a response that we give ourselves.
type Reply struct {
	Status  int
	Body    string
	Details string
	Flags   streaminfo.Flags
	// Modify is called with the response before it is sent; may be nil.
	Modify func(*message.Response)
}

// BodyFormat renders the body of a reply. It is what model.ReplyBody holds.
type BodyFormat interface {
	Append(dst []byte, c *format.Context) []byte
}

// Stream is one request on its way through the filters.
type Stream struct {
	Request *message.Request
	// Response is the stream's own response object, for whoever answers; reset before use.
	Response *message.Response
	Info     *streaminfo.Info
	Host     Host
	// Aborted reports why the stream was given up by the downstream or by a timer; nil while it lives. Blocking calls of
	// the stream return this error by themselves.
	Aborted func() error
	// Arena holds strings that are made for this stream.
	Arena Arena
	// MatchScheme sends the request with the scheme of the upstream connection: https when it is encrypted, else http.
	MatchScheme bool
	// Format is what format strings and the access log are rendered from.
	Format format.Context

	chain []HTTP
	at    int
	ends  []Ender
}

// SetChain gives the stream the filters it runs through.
func (s *Stream) SetChain(chain []HTTP) { s.chain, s.at = chain, 0 }

// Next runs the rest of the chain. It may be called again, which sends the request again.
func (s *Stream) Next() (*message.Response, error) {
	i := s.at
	s.at++
	resp, err := s.chain[i].Handle(s)
	s.at = i
	if err != nil && err != ErrRestart {
		if r, ok := s.Host.(Rescuer); ok {
			return r.Rescue(s, err)
		}
	}
	return resp, err
}

// Rescuer is a Host that can answer where a filter could not, because the stream was given up for a reason that the client
// is to be told: a timer fired, or the request turned out to be malformed. So filters see that reply as any other one.
type Rescuer interface {
	// Rescue returns the reply, or err when there can be none.
	Rescue(s *Stream, err error) (*message.Response, error)
}

// Reply answers without asking the rest of the chain.
func (s *Stream) Reply(r Reply) *message.Response { return s.Host.Reply(s, r) }

// ClearRoute makes the rest of the chain choose the route anew, after a filter changed what routes are matched by. As in
// Envoy the filters that run are those that the first route asked for.
func (s *Stream) ClearRoute() { s.Host.ClearRoute(s) }

// AtEnd has e told of the end of the stream, after what comes later in the chain.
func (s *Stream) AtEnd(e Ender) { s.ends = append(s.ends, e) }

// End and Release call those that AtEnd named, the last one first; whoever serves the stream calls them at its end, End
// before the access log is written and Release after it. Release forgets them.
func (s *Stream) End() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i].End()
	}
}

// Release is described with End.
func (s *Stream) Release() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i].Release()
	}
	clear(s.ends)
	s.ends = s.ends[:0]
}

// SetMetadata sets a key of the stream's dynamic metadata. A namespace is usually the name of the filter that owns it. value
// is what structured data is made of in Go: nil, bool, float64, string, []any or map[string]any.
func (s *Stream) SetMetadata(namespace, key string, value any) {
	if s.Info.Dynamic == nil {
		s.Info.Dynamic = map[string]map[string]any{}
	}
	m := s.Info.Dynamic[namespace]
	if m == nil {
		m = map[string]any{}
		s.Info.Dynamic[namespace] = m
	}
	m[key] = value
}

// SetFilterState keeps an object for other filters, and for the operator FILTER_STATE, under a key of the stream.
func (s *Stream) SetFilterState(key string, value any) {
	if s.Info.FilterState == nil {
		s.Info.FilterState = map[string]any{}
	}
	s.Info.FilterState[key] = value
}
