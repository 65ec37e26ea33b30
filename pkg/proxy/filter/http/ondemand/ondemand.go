// Package ondemand is the HTTP filter envoy.filters.http.on_demand: a request waits while the virtual host, the routes or
// the cluster that it needs are fetched.
//
// It owns the decision to wait, and how the request goes on. It must not know how configuration is fetched: the connection
// manager and filter.OnDemand do that. A Config is immutable; a request that waits holds its goroutine and nothing else.
package ondemand

import (
	"context"
	"errors"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Config is the decoded configuration, of the filter and of routes.
type Config struct {
	// Clusters are fetched when they are not there; nil leaves them alone.
	Clusters *Clusters
}

// Clusters says where clusters are fetched from (OnDemandCds).
type Clusters struct {
	Source *model.Source
	// Timeout bounds the wait of a request; 0 does not.
	Timeout time.Duration

	source *corev3.ConfigSource // until ReadSources
}

var _ filter.Builder = (*Config)(nil)

// NewHTTP implements filter.Builder.
func (c *Config) NewHTTP(d filter.Deps) (filter.HTTP, error) {
	return &handler{name: d.Name, cfg: c, clusters: d.Clusters, onDemand: d.OnDemand}, nil
}

// handler is the filter of one connection manager.
type handler struct {
	name     string
	cfg      *Config
	clusters filter.Clusters
	onDemand filter.OnDemand
}

// Handle implements filter.HTTP.
func (h *handler) Handle(s *filter.Stream) (*message.Response, error) {
	again, err := h.fetch(s)
	switch {
	case err != nil:
		return nil, err
	case again && s.Request.Body == nil:
		return nil, filter.ErrRestart // the filters that the route asks for may be others
	}
	return s.Next()
}

// fetch waits for what the request needs, and tells whether it got any of that.
func (h *handler) fetch(s *filter.Stream) (again bool, err error) {
	route := s.Host.Route(s)
	if route.Route == nil {
		fetcher, ok := s.Host.(filter.RouteFetcher)
		if !ok {
			return false, nil
		}
		if again, err = fetcher.FetchRoute(s); err != nil || !again {
			return false, err
		}
		if route = s.Host.Route(s); route.Route == nil {
			return false, nil
		}
	}
	found, err := h.fetchCluster(s, route.Cluster)
	return again || found, err
}

// fetchCluster waits for a cluster that is not there, and tells whether it came.
func (h *handler) fetchCluster(s *filter.Stream, name string) (found bool, err error) {
	if name == "" || h.onDemand == nil || h.clusters.Cluster(name) != nil {
		return false, nil
	}
	cfg := h.cfg
	if own, ok := filter.PerRoute[*Config](s, h.name); ok {
		cfg = own
	}
	if cfg.Clusters == nil || cfg.Clusters.Source == nil {
		return false, nil
	}
	err = s.Await(cfg.Clusters.Timeout, func(ctx context.Context) error {
		return h.onDemand.FetchCluster(ctx, cfg.Clusters.Source, name)
	})
	if err != nil && !errors.Is(err, filter.ErrOverdue) {
		return false, err
	}
	return h.clusters.Cluster(name) != nil, nil
}
