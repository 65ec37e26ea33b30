package agent

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/lifecycle/handover"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// parentWait is how long a listing of statistics waits for those of the weir before, which takes some tenths of a second for 200,000 series.
const parentWait = time.Second

// parentStats are the statistics of the weir before, Envoy's parent, while it lives. The zero value is that of a process without one.
type parentStats struct {
	feed *handover.Feed // set before anybody asks; nil when none is given
	heir *stats.Heir
	log  *slog.Logger
	// serving tells that this process has all that its configuration asks for.
	serving atomic.Bool
	// shares tells whether this process counts in the kernel where the one before did.
	shares func() bool

	connections, memory atomic.Uint64
	slow                atomic.Bool // told of once

	// Only the feed's goroutine uses what follows: kernel are counters of which it is not known yet who counts them.
	kernel  []handover.Series
	crowded bool
}

// begin takes the statistics of the weir before over.
func (p *parentStats) begin(ctx context.Context, before *handover.Predecessor, store *stats.Store) error {
	p.heir = store.Heir()
	feed, err := before.Statistics(ctx, p)
	if feed == nil && err == nil {
		p.log.Info("the weir before is of a version that does not tell its statistics: they begin anew")
	}
	p.feed = feed
	return err
}

// ask brings the share of the weir before up to date.
func (p *parentStats) ask() {
	if p.feed.Ask(parentWait) && !p.slow.Swap(true) {
		p.log.Warn("the weir before does not tell its statistics in time; what it told last is shown until it does", "waited", parentWait)
	}
}

// Series implements handover.Heir.
func (p *parentStats) Series(s *handover.Series) {
	switch {
	case !s.Counter:
		if importsGauge(s.Name) {
			p.heir.Gauge(s.Name, s.Value)
		}
	case !importsCounter(s.Name):
	case !kernelCounts(s.Name):
		p.heir.Counter(s.Name, s.Value, s.Unshipped)
	default:
		p.kernel = append(p.kernel, *s)
	}
}

// importKernel goes on from where the kernel's counters were, unless this process counts in the same.
func (p *parentStats) importKernel() {
	if !p.shares() {
		for _, s := range p.kernel {
			p.heir.Counter(s.Name, s.Value, s.Unshipped)
		}
	}
	p.kernel = nil
}

// Round implements handover.Heir.
func (p *parentStats) Round(s handover.Summary) {
	p.connections.Store(s.Connections)
	p.memory.Store(s.Memory)
	serving := p.serving.Load()
	if serving {
		p.importKernel()
	}
	if lost := p.heir.Settle(serving); lost > 0 && !p.crowded {
		p.crowded = true
		p.log.Warn("the weir before counts more under names that this one has not than is kept", "first", lost)
	}
}

// End implements handover.Heir.
func (p *parentStats) End(err error) {
	p.heir.Close()
	p.connections.Store(0)
	p.memory.Store(0)
	if err != nil {
		p.log.Warn("the statistics of the weir before are not understood; this one goes on without", "error", err)
	}
}

// importsGauge tells whether a gauge shows the sum of two processes while both live (Envoy's ImportMode::Accumulate): those that count
// what a process holds do, those that say how it is configured or how it is do not.
func importsGauge(name string) bool {
	switch {
	case strings.HasPrefix(name, "server."), // this process reckons them itself
		strings.HasPrefix(name, "listener_manager."), strings.HasPrefix(name, "runtime."), strings.HasPrefix(name, "overload."):
		return false
	}
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "membership_total", "membership_healthy", "membership_degraded", "membership_excluded", "max_host_weight", "warming_state",
		"active_clusters", "warming_clusters", "clusters_inflated",
		"version", "update_time", "config_reload_time_ms", "connected_state",
		"concurrency_limit", "gradient", "burst_queue_size", "min_rtt_msecs", "min_rtt_calculation_active", "sample_rtt_msecs":
		return false
	}
	return true
}

// importsCounter tells whether a counter goes on from where the weir before was: all but those that say how the configuration was read.
func importsCounter(name string) bool {
	return name != "server.static_unknown_fields" && name != "weir.config.unsupported_fields"
}

// kernelCounts tells whether a counter is read from a map that may outlive the process.
func kernelCounts(name string) bool {
	rest, ok := strings.CutPrefix(name, "weir.interception.")
	return ok && !strings.Contains(rest, ".")
}

// rounds are the statistics of this process for the next one; see handover.Rounds.
type rounds struct {
	a     *Agent
	giver *stats.Giver
}

// Round implements handover.Rounds. Once the next process serves it is the one that ships, so that what this one has not shipped is given
// with the series.
func (r *rounds) Round(give func(*handover.Series) error) (handover.Summary, error) {
	a := r.a
	a.updateGauges()
	a.mu.Lock()
	take := a.relieved != nil && len(a.cfg.Static.Sinks) > 0
	a.mu.Unlock()
	err := r.giver.Round(take, func(c *stats.Change) error {
		return give(&handover.Series{Counter: c.Kind == stats.CounterKind, Name: c.Prefix + c.Name, Value: c.Value, Unshipped: c.Unshipped})
	})
	return handover.Summary{Connections: a.server.connections.Value(), Memory: a.server.allocated.Value()}, err
}
