// Package httprouter is envoy.filters.http.router, the terminal HTTP filter: it answers redirects and direct responses,
// and forwards everything else to a host of the route's cluster, with timeouts and retries.
//
// It owns the exchange with the upstream. It must not know codecs, connection pools or how routes are matched. One
// Filter serves all streams of a connection manager; an exchange belongs to its stream's goroutine, and only abort and
// timer functions touch it from others, under the exchange's lock.
package httprouter

import (
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Config is the decoded configuration (envoy.extensions.filters.http.router.v3.Router). It is immutable.
type Config struct {
	// DynamicStats records upstream_rq_<code> statistics of clusters. Default true.
	DynamicStats bool
	// SuppressEnvoyHeaders leaves out the x-envoy-* headers that the router adds.
	SuppressEnvoyHeaders bool
	// RespectExpectedTimeout takes x-envoy-expected-rq-timeout-ms of the request as its timeout.
	RespectExpectedTimeout bool
	// UpstreamLogInterval is how often the upstream logs are written while an attempt goes on; 0 never.
	UpstreamLogInterval time.Duration
	// LogUpstreamStream writes the upstream logs also when an attempt gets its connection.
	LogUpstreamStream bool
	// SuppressGRPCFailureStats leaves upstream_rq_<code> statistics out for gRPC requests.
	SuppressGRPCFailureStats bool
	// StrictCheckHeaders are request headers whose bad values are answered with 400.
	StrictCheckHeaders []message.ID
}

var (
	_ filter.Builder = (*Config)(nil)
	_ filter.HTTP    = (*Filter)(nil)
)

// NewHTTP implements filter.Builder.
func (c *Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	f := &Filter{cfg: c, deps: d, stats: newRouterStats(d.Stats), redirects: newRedirectStats(d.Stats)}
	if len(d.Upstream) > 0 {
		var err error
		if f.upstream, err = newUpstreamChain(d.Upstream, d); err != nil {
			return nil, err
		}
	}
	f.pool.New = func() any { return newExchange(f) }
	if f.deps.BufferLimit <= 0 {
		f.deps.BufferLimit = defaultBufferLimit
	}
	return f, nil
}

// defaultBufferLimit is Envoy's default per_connection_buffer_limit_bytes.
const defaultBufferLimit = 1 << 20

// Filter is the configured router. It is closed with its connection manager.
type Filter struct {
	cfg       *Config
	deps      filter.Deps
	stats     routerStats
	redirects redirectStats
	pool      sync.Pool
	shadows   shadows
	alt       altStats
	// upstream is the chain for clusters that have none of their own; nil for none.
	upstream *upstreamChain
}

// Close ends the mirrored requests that are under way, waits for them, and ends its upstream filters.
func (f *Filter) Close() error {
	f.shadows.close()
	f.alt.close()
	if f.upstream != nil {
		return f.upstream.Close()
	}
	return nil
}

// routerStats are the router's counters below "http.<stat_prefix>.".
type routerStats struct {
	total, noRoute, noCluster, redirect, direct, resetAfterStart, overloaded, retrySkipped *stats.Counter
}

func newRouterStats(sc *stats.Scope) routerStats {
	return routerStats{
		total:           sc.Counter("rq_total"),
		noRoute:         sc.Counter("no_route"),
		noCluster:       sc.Counter("no_cluster"),
		redirect:        sc.Counter("rq_redirect"),
		direct:          sc.Counter("rq_direct_response"),
		resetAfterStart: sc.Counter("rq_reset_after_downstream_response_started"),
		overloaded:      sc.Counter("rq_overload_local_reply"),
		retrySkipped:    sc.Counter("rq_retry_skipped_request_not_complete"),
	}
}

// Handle implements filter.HTTP.
func (f *Filter) Handle(s *filter.Stream) (*message.Response, error) {
	f.stats.total.Inc()
	rt := s.Host.Route(s)
	switch {
	case rt.Route == nil:
		f.stats.noRoute.Inc()
		return s.Reply(filter.Reply{Status: 404, Details: "route_not_found", Flags: streaminfo.NoRouteFound}), nil
	case rt.Route.Redirect != nil:
		f.stats.redirect.Inc()
		return f.redirect(s, rt), nil
	case rt.Route.Direct != nil:
		f.stats.direct.Inc()
		return f.direct(s, rt.Route.Direct), nil
	}
	return f.forward(s, rt)
}

func (f *Filter) redirect(s *filter.Stream, rt filter.Route) *message.Response {
	code := rt.Route.Redirect.Code
	if code == 0 {
		code = 301
	}
	location := rt.Rules.Location(s, &rt)
	return s.Reply(filter.Reply{Status: code, Details: "direct_response", Modify: func(r *message.Response) {
		r.Headers.SetID(message.Location, location)
	}})
}

func (f *Filter) direct(s *filter.Stream, d *model.DirectResponse) *message.Response {
	r := filter.Reply{Status: d.Status, Body: string(d.Body), Details: "direct_response"}
	if d.Format != nil {
		formatted(s, d.Format, &r)
	}
	return s.Reply(r)
}

// formatted renders the body of a direct response, of which the configured one is a part. What the route says about the content type
// comes first.
func formatted(s *filter.Stream, f *model.ReplyBody, r *filter.Reply) {
	s.Info.ResponseCode, s.Info.LocalReplyBody = r.Status, r.Body
	if body, ok := f.Format.(filter.BodyFormat); ok {
		r.Body = s.Arena.End(body.Append(s.Arena.Begin(), &s.Format))
	}
	r.Modify = func(resp *message.Response) {
		if !resp.Headers.Has(message.ContentType) {
			resp.Headers.SetID(message.ContentType, f.ContentType)
		}
	}
}

// forward sends the request to the route's cluster.
func (f *Filter) forward(s *filter.Stream, rt filter.Route) (*message.Response, error) {
	a := rt.Route.Action
	var c filter.Cluster
	if rt.Cluster != "" {
		c = f.deps.Clusters.Cluster(rt.Cluster)
	}
	if c == nil {
		f.stats.noCluster.Inc()
		code := a.ClusterNotFoundCode
		if code == 0 {
			code = 503
		}
		return s.Reply(filter.Reply{Status: code, Details: "cluster_not_found", Flags: streaminfo.NoClusterFound}), nil
	}
	cfg := c.Config()
	s.Info.Upstream.Cluster, s.Info.Upstream.ClusterRaw = cfg.StatName(), cfg.Name
	s.Info.Conn.Cluster(&rt.Route.Name, &cfg.Name)
	if bad := f.checkStrictly(s); bad != nil {
		return bad, nil
	}
	if f.inMaintenance(s, cfg.Name) {
		c.Stats().RqMaintenance.Inc()
		return f.refuse(s, c, filter.Reply{
			Body: "maintenance mode", Details: "maintenance_mode", Flags: streaminfo.UpstreamOverflow, Modify: f.mark(markOverloaded),
		}), nil
	}
	if _, drop := c.DropOverload(); drop {
		return f.refuse(s, c, filter.Reply{
			Body: "drop overload", Details: "drop_overload", Flags: streaminfo.DropOverload, Modify: f.mark(markDropped),
		}), nil
	}
	x := f.pool.Get().(*exchange)
	s.Host.Finish(s, x)
	x.begin(s, &rt, c)
	if err := s.Host.Watch(s, x); err != nil {
		return nil, err
	}
	resp, err := x.run()
	if err == errRestart {
		return f.restart(s, x)
	}
	return resp, err
}

// inMaintenance asks the runtime key upstream.maintenance_mode.<cluster>.
func (f *Filter) inMaintenance(s *filter.Stream, cluster string) bool {
	if !f.deps.Runtime.Knows(model.RuntimeFamilyMaintenance) {
		return false
	}
	return f.deps.Runtime.Percent(s.Arena.Join(model.RuntimeMaintenance, cluster), 0, random())
}

// refuse answers 503 for a cluster that is not to be asked. As in Envoy, its response statistics count that.
func (f *Filter) refuse(s *filter.Stream, c filter.Cluster, r filter.Reply) *message.Response {
	r.Status = 503
	if f.cfg.DynamicStats {
		c.Stats().RecordResponse(r.Status, 0, false)
		c.Stats().RecordOrigin(r.Status, 0, s.Request.Headers.Get(message.XEnvoyInternal) == "true")
	}
	return s.Reply(r)
}

// mark is how a reply tells why it was given, unless such headers are suppressed.
func (f *Filter) mark(with func(*message.Response)) func(*message.Response) {
	if f.cfg.SuppressEnvoyHeaders {
		return nil
	}
	return with
}

func markDropped(r *message.Response) { r.Headers.Set("x-envoy-drop-overload", "true") }

func markOverloaded(r *message.Response) { r.Headers.SetID(message.XEnvoyOverloaded, "true") }
