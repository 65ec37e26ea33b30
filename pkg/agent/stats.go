package agent

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// newStats makes the statistics store as stats_config and --stats-tag ask.
func newStats(o *options.Options, static *translate.Static) (*stats.Store, error) {
	c := static.Stats
	var rules []stats.TagRule
	for _, t := range o.StatsTags {
		rules = append(rules, stats.TagRule{Name: t.Name, Fixed: t.Value})
	}
	for _, t := range c.Tags {
		rules = append(rules, stats.TagRule{Name: t.Name, Regex: t.Regex, Fixed: t.Fixed})
	}
	tags, err := stats.NewTagExtractor(c.UseAllDefaultTags, rules)
	if err != nil {
		return nil, fmt.Errorf("stats_config.stats_tags: %w", err)
	}
	opts := []stats.Option{stats.WithTags(tags)}
	if c.RejectAll || c.HasInclude || len(c.Exclude) > 0 {
		opts = append(opts, stats.WithMatcher(func(name string) bool { return acceptsStat(&c, name) }))
	}
	if len(c.Buckets) > 0 {
		opts = append(opts, stats.WithBuckets(func(name string) []float64 {
			for i := range c.Buckets {
				if match.String(&c.Buckets[i].Match, name) {
					return c.Buckets[i].Bounds
				}
			}
			return nil
		}))
	}
	return stats.NewStore(opts...), nil
}

func acceptsStat(c *translate.StatsConfig, name string) bool {
	matches := func(m model.StringMatcher) bool { return match.String(&m, name) }
	switch {
	case c.RejectAll:
		return false
	case c.HasInclude:
		return slices.ContainsFunc(c.Include, matches)
	}
	return !slices.ContainsFunc(c.Exclude, matches)
}

// serverStats are the server.* statistics.
type serverStats struct {
	state, live, uptime, connections *stats.Gauge
	allocated, heap, physical        *stats.Gauge
	workersStarted, concurrency      *stats.Gauge
	initTime                         *stats.Histogram
}

func newServerStats(root *stats.Scope, cfg *Configuration) *serverStats {
	sc := root.Scope("server")
	s := &serverStats{
		state: sc.Gauge("state"), live: sc.Gauge("live"), uptime: sc.Gauge("uptime"), connections: sc.Gauge("total_connections"),
		allocated: sc.Gauge("memory_allocated"), heap: sc.Gauge("memory_heap_size"), physical: sc.Gauge("memory_physical_size"),
		concurrency: sc.Gauge("concurrency"), workersStarted: root.Gauge("listener_manager.workers_started"),
		initTime: sc.Histogram("initialization_time_ms", stats.Milliseconds),
	}
	s.state.Set(statePreInitializing)
	s.live.Set(1)
	sc.Gauge("hot_restart_epoch").Set(0)
	sc.Gauge("version").Set(uint64(version.EnvoyMajor*10000 + version.EnvoyMinor*100 + version.EnvoyPatch))
	sc.Counter("static_unknown_fields").Add(uint64(cfg.UnknownFields))
	root.Counter("weir.config.unsupported_fields").Add(uint64(cfg.Unsupported))
	return s
}

// flushStats brings gauges up to date and ends the interval of the histograms.
func (a *Agent) flushStats() {
	a.updateGauges()
	a.stats.LatchHistograms()
}

// updateGauges reads what changes by itself.
func (a *Agent) updateGauges() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a.server.uptime.Set(uint64(time.Since(a.start).Seconds()))
	a.server.allocated.Set(m.HeapAlloc)
	a.server.heap.Set(m.HeapSys)
	a.server.physical.Set(admin.ResidentBytes())
	connections := 0
	for _, l := range a.listeners.List() {
		connections += l.Connections
	}
	a.server.connections.Set(uint64(connections))
}
