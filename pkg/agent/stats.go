package agent

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/agent/version"
	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/observe/admin"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
)

// newStats makes the statistics store as stats_config and --stats-tag ask. overflow is told the scopes that hold too many names.
func newStats(o *options.Options, static *translate.Static, overflow func(scope string)) (*stats.Store, error) {
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
	opts := []stats.Option{stats.WithTags(tags), stats.WithOverflow(overflow)}
	if c.RejectAll || c.HasInclude || len(c.Exclude) > 0 {
		opts = append(opts, stats.WithMatcher(func(name string) bool { return acceptsStat(&c, name) }))
	}
	if c.Deferred {
		opts = append(opts, stats.WithDeferred())
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

// overflowLog warns of each scope with too many names once, and of so many scopes.
func overflowLog(log *slog.Logger) func(scope string) {
	const most = 16
	var mu sync.Mutex
	told := make(map[string]bool, most)
	return func(scope string) {
		mu.Lock()
		defer mu.Unlock()
		if told[scope] || len(told) == most {
			return
		}
		told[scope] = true
		log.Warn("more names of statistics than are kept: further ones are not shown", "below", scope, "limit", stats.MaxNames)
	}
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
	parent, epoch, generation        *stats.Gauge
	workersStarted, concurrency      *stats.Gauge
	certDays                         *stats.Gauge
	initTime                         *stats.Histogram
}

func newServerStats(root *stats.Scope, cfg *Configuration) *serverStats {
	sc := root.Scope("server")
	s := &serverStats{
		state: sc.Gauge("state"), live: sc.Gauge("live"), uptime: sc.Gauge("uptime"), connections: sc.Gauge("total_connections"),
		allocated: sc.Gauge("memory_allocated"), heap: sc.Gauge("memory_heap_size"), physical: sc.Gauge("memory_physical_size"),
		concurrency: sc.Gauge("concurrency"), workersStarted: root.Gauge("listener_manager.workers_started"),
		parent: sc.Gauge("parent_connections"), epoch: sc.Gauge("hot_restart_epoch"), generation: sc.Gauge("hot_restart_generation"),
		initTime: sc.Histogram("initialization_time_ms", stats.Milliseconds), certDays: sc.Gauge("days_until_first_cert_expiring"),
	}
	s.state.Set(statePreInitializing)
	s.live.Set(1)
	s.epoch.Set(0)
	s.generation.Set(1)
	s.parent.Set(0)
	sc.Gauge("stats_recent_lookups").Set(0)
	sc.Gauge("compilation_settings.fips_mode").Set(0)
	// No response is stapled.
	sc.Gauge("seconds_until_first_ocsp_response_expiring").Set(0)
	// There is neither a debug build nor a check that goes on after it failed.
	sc.Counter("debug_assertion_failures")
	sc.Counter("envoy_bug_failures")
	number := uint64(version.EnvoyMajor*10000 + version.EnvoyMinor*100 + version.EnvoyPatch)
	if v := cfg.Static.ServerVersion; v != nil {
		number = *v
	}
	sc.Gauge("version").Set(number)
	sc.Counter("static_unknown_fields").Add(uint64(cfg.UnknownFields))
	// Updates take effect at once: none waits to be merged with others.
	for _, name := range []string{"cluster_updated_via_merge", "update_merge_cancelled", "update_out_of_merge_window"} {
		root.Counter("cluster_manager." + name)
	}
	root.Counter("weir.config.unsupported_fields").Add(uint64(cfg.Unsupported))
	return s
}

// flushStats brings gauges up to date, ends the interval, and ships it to the sinks.
func (a *Agent) flushStats() {
	a.updateGauges()
	a.flusher.Flush(time.Now())
}

// flushDue flushes when an interval is over, unless the admin interface is to do so.
func (a *Agent) flushDue() {
	if !a.cfg.Static.StatsFlushOnAdmin {
		a.flushStats()
	}
}

// updateGauges reads what changes by itself, and what the weir before has to tell.
func (a *Agent) updateGauges() {
	a.parent.ask()
	memory := admin.ReadMemory()
	a.capture.services.collect(everything)
	a.runtime.DeprecatedUse(a.cfg.Translator.Deprecated())
	a.server.uptime.Set(uint64(time.Since(a.firstStart).Seconds()))
	a.server.allocated.Set(memory.Allocated + a.parent.memory.Load())
	a.server.heap.Set(memory.Reserved)
	a.server.physical.Set(admin.ResidentBytes())
	a.capture.countReasons(a.stats.Root())
	a.capture.inbound.count(a.stats.Root())
	a.datagrams.count(a.stats.Root())
	a.acceleration.Count()
	connections := 0
	for _, l := range a.listeners.List() {
		connections += l.Connections
	}
	before := a.parent.connections.Load()
	a.server.parent.Set(before)
	a.server.connections.Set(uint64(connections) + before)
	a.server.certDays.Set(a.expiry.days(a.store.Snapshot(), view.Config{Dump: a.store.Dump}.Certificates))
}

// certExpiry remembers when the first certificate in use expires. The zero value knows nothing yet.
type certExpiry struct {
	mu    sync.Mutex
	of    certSources
	known bool
	first time.Time // zero when there is none
}

// certSources are the parts of a snapshot that certificates are in.
type certSources struct {
	clusters  model.Set[*model.Cluster]
	listeners model.Set[*model.Listener]
	secrets   model.Set[*model.Secret]
}

// days until the first certificate expires: 0 when one has, and the largest number of 32 bits without any, as Envoy says it,
// so that an alert of "less than 30" stays quiet. Certificates are looked at only when there may be others: not for new
// endpoints and routes, which come all the time.
func (e *certExpiry) days(snap *model.Snapshot, certificates func() *adminv3.Certificates) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if of := (certSources{snap.Clusters, snap.Listeners, snap.Secrets}); !e.known || e.of != of {
		e.of, e.known, e.first = of, true, time.Time{}
		for _, c := range certificates().GetCertificates() {
			for _, d := range slices.Concat(c.GetCaCert(), c.GetCertChain()) {
				if at := d.GetExpirationTime().AsTime(); e.first.IsZero() || at.Before(e.first) {
					e.first = at
				}
			}
		}
	}
	if e.first.IsZero() {
		return math.MaxUint32
	}
	return uint64(max(time.Until(e.first)/(24*time.Hour), 0))
}
