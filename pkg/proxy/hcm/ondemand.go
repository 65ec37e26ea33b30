package hcm

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// OnDemand fetches configuration that requests turn out to need. Each method returns when what it asks for is in force or
// known not to come; the error is why ctx ended before.
type OnDemand interface {
	filter.OnDemand
	// FetchRoutes asks for the route configuration of a scope that is loaded on demand.
	FetchRoutes(ctx context.Context, name string) error
	// FetchVirtualHost asks VHDS for the virtual host of a host, in lower case.
	FetchVirtualHost(ctx context.Context, routes, host string) error
}

var _ filter.RouteFetcher = (*stream)(nil)

// FetchRoute implements filter.RouteFetcher: it asks for the virtual host of the request's host where VHDS has more of them,
// or for the routes of its scope.
func (s *stream) FetchRoute(fs *filter.Stream) (again bool, err error) {
	m := s.conn.m
	if m.deps.OnDemand == nil {
		return false, nil
	}
	var limit time.Duration
	var fetch func(context.Context) error
	switch scope := s.scope(); {
	case s.table != nil && s.table.Config().VHDS != nil && s.Route(fs).VirtualHost == nil:
		routes := s.table.Config()
		limit = routes.VHDS.InitialFetchTimeout
		host := strings.ToLower(s.Request.Authority) // which the store keeps: no part of the request may be in it
		fetch = func(ctx context.Context) error {
			return m.deps.OnDemand.FetchVirtualHost(ctx, routes.Name, strings.Clone(host))
		}
	case s.table == nil && scope != nil && scope.OnDemand:
		limit = m.scopes.cfg.RouteSource.InitialFetchTimeout
		fetch = func(ctx context.Context) error { return m.deps.OnDemand.FetchRoutes(ctx, scope.RouteConfigName) }
	default:
		return false, nil
	}
	if err := fs.Await(limit, fetch); err != nil && !errors.Is(err, filter.ErrOverdue) {
		return false, err
	}
	s.refreshTable()
	s.ClearRoute(fs)
	return true, nil
}

// scope is that of the request; nil when there is none.
func (s *stream) scope() *model.Scope {
	x := s.conn.m.scopes
	if x == nil {
		return nil
	}
	key, ok := RequestScope(x.cfg.Key, s.Request, &s.Arena)
	if !ok {
		return nil
	}
	return x.find(key)
}

// refreshTable takes the route table of this moment in place of that of the stream's beginning.
func (s *stream) refreshTable() {
	if m := s.conn.m; m.scopes == nil {
		s.table = m.table()
	} else {
		s.table = m.scopes.table(s.Request, &s.Arena)
	}
}
