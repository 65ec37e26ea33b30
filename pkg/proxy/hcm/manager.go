// Package hcm is Envoy's HTTP connection manager: it serves the requests of downstream connections. It decides what a
// request may claim about itself, finds its route, runs it through the HTTP filters and writes the response.
//
// It owns connections from the moment a filter chain was chosen for them, request and connection timeouts, local replies
// and the http.<stat_prefix> statistics. It must not know protobuf, nor upstream connections: only Clusters adapts their
// manager for filters. A Manager is shared by all connections of its filter chain. A connection's lock guards its set of
// streams; a stream belongs to the goroutine that serves it, and only its abort functions may be called from others.
package hcm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/h1"
	"github.com/weir-proxy/weir/pkg/proxy/http/h2"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// Deps is what a Manager works with.
type Deps struct {
	// Stats is the root scope.
	Stats *stats.Scope
	// ListenerStats is the scope "listener.<address>."; nil counts nothing there.
	ListenerStats *stats.Scope
	// Log is the logger "http"; nil discards.
	Log   *slog.Logger
	Wheel *timer.Wheel
	// Routes returns the current RDS route configuration of a name; nil when there is none yet.
	Routes func(name string) *model.RouteConfig
	// Scope returns the current SRDS scope of a source (model.Source.ID) and a key, which is in the form of model.ScopeKey; nil when
	// there is none.
	Scope func(source, key string) *model.Scope
	// Hosts returns the current virtual hosts of VHDS for a route configuration; nil when there are none.
	Hosts func(routes string) *model.HostSet
	// OnDemand fetches what requests turn out to need; nil fetches nothing.
	OnDemand OnDemand
	Clusters filter.Clusters
	// HTTP2 makes the server side of an HTTP/2 connection; nil uses pkg/proxy/http/h2.
	HTTP2 func(c net.Conn, cfg *model.HTTPConnectionManager) (codec.Server, error)
	// AccessLogs opens the access logs; nil writes none.
	AccessLogs *accesslog.Manager
	// Buffers of HTTP/1 connections, to be shared by all managers; nil makes own ones.
	Buffers *h1.Buffers
	// LocalAddr stands in x-forwarded-for for clients on the loopback; the client's own address when invalid.
	LocalAddr netip.Addr
	// ServiceCluster and ServiceNode name this proxy in add_user_agent.
	ServiceCluster, ServiceNode string
	// FilterConfig returns the current ECDS filter configuration of a name; nil when there is none yet.
	FilterConfig func(name string) *model.FilterConfig
	// HealthFailed tells whether the process was told to fail health checks; nil never is.
	HealthFailed func() bool
	// DrainFailed ends connections with their next response while HealthFailed holds (drain_type DEFAULT of the listener).
	DrainFailed bool
	// DrainClose tells, for each response, whether it is to be the last one of its connection because the listener drains; nil
	// never is.
	DrainClose func() bool
	// Runtime answers runtime keys; nil knows none.
	Runtime *model.Runtime
	// BufferLimit bounds what is kept of a request body for retries: the listener's per_connection_buffer_limit_bytes.
	BufferLimit int
}

// Manager is a configured HTTP connection manager.
type Manager struct {
	cfg     *model.HTTPConnectionManager
	deps    Deps
	stats   *httpStats
	chain   chain
	upgrade map[string]*upgrade // by lower-case type
	logs    accesslog.Loggers
	clock   clock
	ids     atomic.Uint64
	streams sync.Pool
	shared  *h2.Shared // memory of HTTP/2 connections
	tick    time.Duration
	// ignoreUpgrade is ignore_http_11_upgrade; nil when it lists nothing.
	ignoreUpgrade func(protocol string) bool
	details

	inline *router.Table // of InlineRoutes
	scopes *scopes       // nil unless the scope of a request decides
	rds    atomic.Pointer[compiled]
	rdsMu  sync.Mutex // serialises compiling
}

// compiled is the table of the RDS configuration it was made from.
type compiled struct {
	config *model.RouteConfig
	table  *router.Table // nil when it does not compile
}

// upgrade is what upgrade_configs says about one type.
type upgrade struct {
	enabled bool
	chain   *chain // nil: the manager's own
}

var (
	_ filter.Network = (*Manager)(nil)
	_ filter.Denier  = (*Manager)(nil)
)

// lastResponse tells whether the response that is about to be sent ends its connection.
func (d *Deps) lastResponse() bool {
	return d.DrainFailed && d.HealthFailed != nil && d.HealthFailed() || d.DrainClose != nil && d.DrainClose()
}

// New builds the manager of a configuration. Errors name the filter, route or access log.
func New(cfg *model.HTTPConnectionManager, d Deps) (*Manager, error) {
	if d.Log == nil {
		d.Log = log.Discard()
	}
	if d.Buffers == nil {
		d.Buffers = h1.NewBuffers()
	}
	cfg = withRuntime(cfg, d.Runtime)
	m := &Manager{cfg: cfg, deps: d, upgrade: map[string]*upgrade{}, shared: h2.NewShared()}
	m.stats = newHTTPStats(d.Stats, d.ListenerStats, cfg.StatPrefix)
	m.streams.New = func() any { return newStream() }
	m.tick = sweepInterval(cfg)
	if list := cfg.HTTP1.IgnoreUpgrades; len(list) > 0 {
		m.ignoreUpgrade = func(protocol string) bool {
			return slices.ContainsFunc(list, func(sm model.StringMatcher) bool { return match.String(&sm, protocol) })
		}
	}
	var errs []error
	var err error
	if m.chain, err = m.buildChain(cfg.HTTPFilters); err != nil {
		errs = append(errs, err)
	}
	if err := m.buildUpgrades(cfg.Upgrades); err != nil {
		errs = append(errs, err)
	}
	if cfg.InlineRoutes != nil {
		if m.inline, err = router.Compile(cfg.InlineRoutes, m.tableOptions(cfg.InlineRoutes)); err != nil {
			errs = append(errs, err)
		}
	}
	if cfg.Scoped != nil {
		m.scopes = m.newScopes(cfg.Scoped)
	}
	if m.details, err = m.compileDetails(cfg); err != nil {
		errs = append(errs, err)
	}
	if d.AccessLogs != nil {
		if m.logs, err = d.AccessLogs.Build(cfg.AccessLogs); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		m.Close()
		return nil, fmt.Errorf("build http connection manager %q: %w", cfg.StatPrefix, err)
	}
	return m, nil
}

// buildUpgrades makes the chains of the protocols that streams may be upgraded to.
func (m *Manager) buildUpgrades(list []model.Upgrade) error {
	var errs []error
	for _, u := range list {
		up := &upgrade{enabled: !u.Disabled}
		if u.Filters != nil {
			c, err := m.buildChain(u.Filters)
			if err != nil {
				errs = append(errs, fmt.Errorf("upgrade %q: %w", u.Type, err))
			}
			up.chain = &c
		}
		m.upgrade[strings.ToLower(u.Type)] = up
	}
	return errors.Join(errs...)
}

// table is the current route table; nil when there is none.
func (m *Manager) table() *router.Table {
	if m.inline != nil {
		return m.inline
	}
	if m.deps.Routes == nil || m.scopes != nil {
		return nil
	}
	cfg := m.deps.Routes(m.cfg.RouteConfigName)
	if cfg == nil {
		return nil
	}
	if c := m.rds.Load(); c != nil && c.config == cfg {
		return c.table
	}
	m.rdsMu.Lock()
	defer m.rdsMu.Unlock()
	if c := m.rds.Load(); c != nil && c.config == cfg {
		return c.table
	}
	t, err := router.Compile(cfg, m.tableOptions(cfg))
	if err != nil {
		m.deps.Log.Error("route configuration cannot be used", "error", err)
		t = nil
	}
	if old := m.rds.Swap(&compiled{cfg, t}); old != nil && old.table != nil {
		old.table.Close()
	}
	return t
}

func (m *Manager) tableOptions(cfg *model.RouteConfig) router.Options {
	o := router.Options{Runtime: m.deps.Runtime, Stats: m.deps.Stats, ServiceCluster: m.deps.ServiceCluster}
	if cfg.VHDS != nil && m.deps.Hosts != nil {
		o.Hosts = func() *model.HostSet { return m.deps.Hosts(cfg.Name) }
		o.Faulty = func(err error) { m.deps.Log.Error("virtual host cannot be used", "routes", cfg.Name, "error", err) }
	}
	return o
}

// closeTables gives the statistics of the route tables up.
func (m *Manager) closeTables() {
	if m.inline != nil {
		m.inline.Close()
	}
	if c := m.rds.Load(); c != nil && c.table != nil {
		c.table.Close()
	}
	if m.scopes != nil {
		m.scopes.close()
	}
}

// Close releases the manager's statistics, after its last connection has ended.
func (m *Manager) Close() {
	m.closeChains()
	m.closeTables()
	m.stats.close()
}

// Denied implements filter.Denier: a connection that a filter in front of the manager closes counts, as in Envoy.
func (m *Manager) Denied(fc *filter.Connection) {
	st := m.stats
	st.cxTotal.Inc()
	if fc.Info.TLS != nil {
		st.cxSSLTotal.Inc()
	}
	st.cxDestroy.Inc()
	st.cxDestroyLocal.Inc()
	st.cxLength.Record(uint64(time.Since(fc.Info.Start).Milliseconds()))
}

// Serve implements filter.Network.
func (m *Manager) Serve(ctx context.Context, fc *filter.Connection) (rests bool) {
	c, _ := fc.State.(*connection)
	defer func() {
		if !rests {
			if fc.Drain != nil {
				fc.Drain.Forget()
			}
			c.closed()
			_ = fc.Conn.Close()
		}
	}()
	if c == nil {
		c = &connection{m: m, fc: fc, start: time.Now()}
		fc.State = c
		c.opened()
		if fc.Drain != nil {
			fc.Drain.Notify(c.drain)
		}
		server, err := m.newServer(fc)
		if err != nil {
			m.deps.Log.Debug("connection ended before a request", "error", err)
			return false
		}
		c.serve(server)
	}
	switch err := c.server.Serve(ctx, c); {
	case err == codec.ErrRests:
		return true
	case err != nil:
		m.stats.ended(err)
		m.deps.Log.Debug("connection ended", "connection", fc.Info.ID, "error", err)
	}
	return false
}
