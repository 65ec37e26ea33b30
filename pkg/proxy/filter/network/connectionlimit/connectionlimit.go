// Package connectionlimit is the network filter envoy.filters.network.connection_limit: it bounds the connections of its filter chain.
//
// It owns the count and the statistics connection_limit.<stat_prefix>.*. It must not know other limits (those of listeners and
// clusters). The count is an atomic; everything else of a Filter is immutable.
package connectionlimit

import (
	"context"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// Config is the decoded configuration.
type Config struct{ model.ConnectionLimit }

// Limit is what the configuration says: for whoever counts in place of the filter.
func (c *Config) Limit() *model.ConnectionLimit { return &c.ConnectionLimit }

// NewNonTerminal implements filter.NonTerminalBuilder.
func (c *Config) NewNonTerminal(d filter.NetworkDeps) (filter.NonTerminal, error) {
	s := d.Stats.Scope("connection_limit." + c.StatPrefix)
	return &Filter{cfg: c, scope: s, runtime: d.Runtime, active: s.Gauge("active_connections"), limited: s.Counter("limited_connections")}, nil
}

// Filter counts the connections of a filter chain.
type Filter struct {
	cfg     *Config
	scope   *stats.Scope
	runtime *model.Runtime
	// active and limited are the statistics; connections above the limit are active until they are closed.
	active  *stats.Gauge
	limited *stats.Counter
	count   atomic.Uint64
}

var (
	_ filter.NonTerminal        = (*Filter)(nil)
	_ filter.NonTerminalBuilder = (*Config)(nil)
)

// Close releases the statistics, after the last connection.
func (f *Filter) Close() error {
	f.scope.Close()
	return nil
}

// Accept implements filter.NonTerminal. The state tells whether the connection was counted. One above the limit counts, too, until
// it is closed, as in Envoy.
func (f *Filter) Accept(ctx context.Context, c *filter.Connection) (state any, ok bool) {
	enabled := f.cfg.Enabled
	if key := f.cfg.EnabledKey; key != "" {
		enabled = f.runtime.Flag(key, enabled)
	}
	if !enabled {
		return false, true
	}
	f.active.Inc()
	if f.count.Add(1) <= f.cfg.MaxConnections {
		return true, true
	}
	f.limited.Inc()
	if d := f.cfg.Delay; d > 0 {
		c.Hold(ctx, d)
	}
	return true, false
}

// Begin implements filter.NonTerminal.
func (f *Filter) Begin(context.Context, *filter.Connection, any) bool { return true }

// End implements filter.NonTerminal.
func (f *Filter) End(_ *filter.Connection, state any) {
	if state.(bool) {
		f.count.Add(^uint64(0))
		f.active.Dec()
	}
}
