package httprouter

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// fakeCluster has one host and one stream, which answers at once.
type fakeCluster struct {
	cfg    *model.Cluster
	stats  *metrics.Cluster
	host   *upstream.Host
	stream fakeUpstream
}

func newFakeCluster(store *stats.Store) *fakeCluster {
	return &fakeCluster{
		cfg:   &model.Cluster{Resource: model.Resource{Name: "web"}},
		stats: metrics.NewCluster(store.Root().Scope("cluster.web")), host: upstream.NewHost(netip.MustParseAddrPort("127.0.0.1:80")),
	}
}

func (c *fakeCluster) Cluster(string) filter.Cluster                      { return c }
func (c *fakeCluster) Config() *model.Cluster                             { return c.cfg }
func (c *fakeCluster) Stats() *metrics.Cluster                            { return c.stats }
func (c *fakeCluster) WantsHash() bool                                    { return false }
func (c *fakeCluster) Pick(*upstream.PickContext) (*upstream.Host, error) { return c.host, nil }
func (c *fakeCluster) DropOverload() (string, bool)                       { return "", false }
func (c *fakeCluster) TryRetry(bool) error                                { return nil }
func (c *fakeCluster) ReleaseRetry(bool)                                  {}
func (c *fakeCluster) Reuse(*upstream.Host, *filter.StreamOptions) codec.ClientStream {
	return &c.stream
}

func (c *fakeCluster) ConnectTCP(context.Context, *upstream.Host, *filter.StreamOptions) (*filter.Lease, error) {
	return nil, &upstream.Error{Kind: upstream.KindConnect}
}

func (c *fakeCluster) Connect(context.Context, *upstream.Host, *filter.StreamOptions) (codec.ClientStream, error) {
	return &c.stream, nil
}

// fakeUpstream answers 200 with five bytes.
type fakeUpstream struct{ body message.Bytes }

func (u *fakeUpstream) RoundTrip(_ *message.Request, r *message.Response, _ func(*message.Response)) error {
	r.Status = 200
	r.Headers.AddID(message.ContentType, "text/plain")
	u.body = *message.NewString("hello")
	r.Body = &u.body
	return nil
}
func (*fakeUpstream) Abort(error)          {}
func (*fakeUpstream) Close()               {}
func (*fakeUpstream) Conn() codec.ConnInfo { return codec.ConnInfo{ID: 1, Version: message.HTTP11} }
func (*fakeUpstream) Counts() codec.Counts { return codec.Counts{} }

// fakeHost is the connection manager's part of a stream.
type fakeHost struct {
	filter.Stream
	req   message.Request
	resp  message.Response
	info  streaminfo.Info
	route filter.Route
	ender filter.Ender
	buf   [512]byte
}

func newFakeHost(rt filter.Route) *fakeHost {
	h := &fakeHost{route: rt}
	h.Request, h.Response, h.Info, h.Host = &h.req, &h.resp, &h.info, h
	return h
}

// serve runs one request through the filter and reads the response.
func (h *fakeHost) serve(f *Filter) int {
	h.req.Reset()
	h.resp.Reset()
	h.info.Reset()
	h.req.Method, h.req.Scheme, h.req.Authority, h.req.Path, h.req.Version = "GET", "http", "example.com", "/", message.HTTP11
	for _, id := range []message.ID{message.UserAgent, message.Accept, message.XForwardedProto, message.XRequestID, message.XForwardedFor} {
		h.req.Headers.AddID(id, "value")
	}
	h.info.Start = time.Now()
	h.info.Timing.LastDownstreamRx = 1
	h.Format = format.Context{Info: h.Info, Request: h.Request}
	resp, err := f.Handle(&h.Stream)
	if err != nil {
		return 0
	}
	if resp.Body != nil {
		for {
			if _, err := resp.Body.Read(h.buf[:]); err == io.EOF {
				break
			}
		}
	}
	status := resp.Status
	if h.ender != nil {
		h.ender.End()
		h.ender.Release()
		h.ender = nil
	}
	h.Arena.Reset()
	return status
}

func (h *fakeHost) Route(*filter.Stream) filter.Route                     { return h.route }
func (h *fakeHost) ClearRoute(*filter.Stream)                             {}
func (h *fakeHost) Informational(*filter.Stream, *message.Response) error { return nil }
func (h *fakeHost) Watch(*filter.Stream, filter.Aborter) error            { return nil }
func (h *fakeHost) Finish(_ *filter.Stream, e filter.Ender)               { h.ender = e }
func (h *fakeHost) RequestComplete(*filter.Stream) bool                   { return true }
func (h *fakeHost) Reply(s *filter.Stream, r filter.Reply) *message.Response {
	s.Response.Reset()
	s.Response.Status = r.Status
	return s.Response
}

func fakeRoute() filter.Route {
	a := &model.RouteAction{Cluster: "web", Timeout: 15 * time.Second, GRPCTimeoutMax: -1}
	return filter.Route{
		Config: &model.RouteConfig{}, VirtualHost: &model.VirtualHost{}, Route: &model.Route{Action: a}, Cluster: "web", Rules: noRules{},
	}
}
