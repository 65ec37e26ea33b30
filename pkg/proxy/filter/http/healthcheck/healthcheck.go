// Package healthcheck is envoy.filters.http.health_check: it answers, or remembers the answers to, the requests by which
// load balancers in front of this proxy ask whether it is well.
//
// It owns the cached answer. It must not know how the process was told to fail, nor how clusters check their hosts. One
// Filter serves all streams.
package healthcheck

import (
	"io"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Config is the decoded configuration. It is immutable.
type Config struct {
	// PassThrough sends health checks on to the upstream; otherwise they are answered here.
	PassThrough bool
	// CacheTime is how long the upstream's answer stands for others; 0 asks it each time.
	CacheTime time.Duration
	// MinHealthy are the clusters that must be well enough, in order of their names.
	MinHealthy []MinHealthy
	// Headers are what makes a request a health check; all of them must match.
	Headers []model.HeaderMatcher
}

// MinHealthy says which part of a cluster's hosts must be healthy or degraded.
type MinHealthy struct {
	Cluster string
	Percent uint64
}

var (
	_ filter.Builder = (*Config)(nil)
	_ filter.HTTP    = (*Filter)(nil)
)

// NewHTTP implements filter.Builder.
func (c *Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	return &Filter{cfg: c, deps: d, start: time.Now()}, nil
}

// Filter is the configured filter.
type Filter struct {
	cfg   *Config
	deps  filter.Deps
	start time.Time // periods of CacheTime are counted from here

	mu     sync.Mutex
	cached answer
	until  time.Time // of cached
}

// answer is what a health check was told.
type answer struct {
	status   int
	degraded bool
	details  string
}

// degradedHeader marks answers of hosts that are to be used only when there are not enough others.
const degradedHeader = "x-envoy-degraded"

// Handle implements filter.HTTP.
func (f *Filter) Handle(s *filter.Stream) (*message.Response, error) {
	if !match.Headers(f.cfg.Headers, s.Request) {
		resp, err := s.Next()
		if err == nil && f.failed() {
			resp.Headers.SetID(message.XEnvoyImmediateHealthCheckFail, "true")
		}
		return resp, err
	}
	s.Info.HealthCheck = true
	resp, err := f.check(s)
	if err != nil {
		return nil, err
	}
	if f.cfg.CacheTime > 0 {
		_, degraded := resp.Headers.Lookup(degradedHeader)
		f.remember(answer{status: resp.Status, degraded: degraded})
	}
	resp.Headers.Set("x-envoy-upstream-healthchecked-cluster", f.deps.LocalCluster)
	return resp, nil
}

// check answers a health check.
func (f *Filter) check(s *filter.Stream) (*message.Response, error) {
	if f.failed() {
		return f.reply(s, answer{status: 503, details: "health_check_failed"})
	}
	if !f.cfg.PassThrough {
		return f.reply(s, f.judge())
	}
	if f.cfg.CacheTime > 0 {
		if a, ok := f.recall(); ok {
			return f.reply(s, a)
		}
	}
	return s.Next()
}

// reply answers once the request has come as a whole.
func (f *Filter) reply(s *filter.Stream, a answer) (*message.Response, error) {
	if s.Request.Body != nil {
		if _, err := io.Copy(io.Discard, s.Request.Body); err != nil {
			return nil, err
		}
	}
	r := filter.Reply{Status: a.status, Details: a.details}
	if a.status < 200 || a.status > 299 {
		r.Flags = streaminfo.FailedLocalHealthCheck
	}
	if a.degraded {
		r.Modify = func(resp *message.Response) { resp.Headers.Set(degradedHeader, "") }
	}
	return s.Reply(r), nil
}

func (f *Filter) failed() bool { return f.deps.HealthFailed != nil && f.deps.HealthFailed() }

// judge looks at the clusters that matter.
func (f *Filter) judge() answer {
	a := answer{status: 200, details: "health_check_ok"}
	for _, m := range f.cfg.MinHealthy {
		a.details = "health_check_ok_cluster_healthy"
		c := f.deps.Clusters.Cluster(m.Cluster)
		if c == nil {
			return answer{status: 503, details: "health_check_failed_no_cluster_found"}
		}
		st := c.Stats()
		total := st.MembershipTotal.Value()
		if total == 0 {
			if m.Percent == 0 {
				continue
			}
			return answer{status: 503, details: "health_check_failed_cluster_empty"}
		}
		if 100*(st.MembershipHealthy.Value()+st.MembershipDegraded.Value()) < total*m.Percent {
			return answer{status: 503, details: "health_check_failed_cluster_unhealthy"}
		}
	}
	return a
}

// remember keeps an answer until the end of the present period. As in Envoy, whose timer clears it, periods follow each
// other whatever is asked when.
func (f *Filter) remember(a answer) {
	now := time.Now()
	past := now.Sub(f.start)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cached, f.until = a, now.Add(f.cfg.CacheTime-past%f.cfg.CacheTime)
}

// recall returns the answer of this period.
func (f *Filter) recall() (answer, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !time.Now().Before(f.until) {
		return answer{}, false
	}
	a := f.cached
	a.details = "health_check_cached"
	return a, true
}
