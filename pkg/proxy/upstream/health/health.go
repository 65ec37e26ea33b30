// Package health checks hosts actively, over HTTP, TCP and gRPC, as Envoy does (Envoy docs, "Health checking").
//
// It owns when a host is checked and when that changes what is thought of it. It must not know clusters, balancers or
// protobuf: whoever starts a Checker gives it a way to connect and is told of changes. A Checker runs one goroutine, on
// which all callbacks are called; Flags and Fail may be called from any.
package health

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// Target is a host to check.
type Target struct {
	// Name of the host for the log.
	Name string
	// Cluster is the default authority of checks, Hostname that of this endpoint when not empty.
	Cluster, Hostname string
	// Secure tells that Dial makes a TLS connection.
	Secure bool
	// Dial connects to where the host is checked. alpn is offered by TLS where neither the check nor the cluster says what to
	// offer.
	Dial func(ctx context.Context, alpn []string) (net.Conn, error)
}

// Stats are the counters of a cluster's checks (cluster.<name>.health_check.*).
type Stats struct {
	Attempt, Success, Failure, PassiveFailure, NetworkFailure, VerifyCluster *stats.Counter
}

// NewStats looks the counters up in the scope "cluster.<name>.".
func NewStats(cluster *stats.Scope) *Stats {
	sc := cluster.Scope("health_check")
	return &Stats{
		Attempt: sc.Counter("attempt"), Success: sc.Counter("success"), Failure: sc.Counter("failure"),
		PassiveFailure: sc.Counter("passive_failure"), NetworkFailure: sc.Counter("network_failure"), VerifyCluster: sc.Counter("verify_cluster"),
	}
}

// Options configure a Checker.
type Options struct {
	Check  *model.HealthCheck
	Target Target
	Stats  *Stats
	// Initial is what is thought of the host before its first check.
	Initial upstream.HealthFlags
	// Traffic tells whether the cluster ever had a connection; until then checks are rarer.
	Traffic func() bool
	// Changed is called after each check that changed Flags, and after the first check.
	Changed func()
	// Passed is called after each check that finds the host healthy; nil is not.
	Passed func()
	// Event is told what belongs into the event log; nil drops it.
	Event func(Event)
	// GRPC makes the client of gRPC checks.
	GRPC NewGRPC
	// Runtime answers the runtime keys health_check.*; nil knows none.
	Runtime *model.Runtime
	Log     *slog.Logger
}

// Checker checks one host.
type Checker struct {
	opt    Options
	probe  prober
	flags  atomic.Uint32
	since  atomic.Pointer[time.Time]
	cancel context.CancelFunc
	failed chan struct{} // one slot: Fail was called

	// What follows belongs to the goroutine.
	healthy, unhealthy uint32 // checks in a row
	checked            bool
}

// Start begins to check the host, on a goroutine of wg, until Close.
func Start(wg *sync.WaitGroup, opt Options) *Checker {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Checker{opt: opt, probe: newProber(&opt), cancel: cancel, failed: make(chan struct{}, 1)}
	c.flags.Store(uint32(opt.Initial))
	wg.Go(func() { c.run(ctx) })
	return c
}

// Close ends the checks. It does not wait: the caller may be one of the checker's own callbacks.
func (c *Checker) Close() { c.cancel() }

// Flags is what the checks say of the host.
func (c *Checker) Flags() upstream.HealthFlags { return upstream.HealthFlags(c.flags.Load()) }

// Since is when the host last came to pass its checks; nil when it did not since the checker was started.
func (c *Checker) Since() *time.Time { return c.since.Load() }

// Fail takes the host out at once, as a response with x-envoy-immediate-health-check-fail asks.
func (c *Checker) Fail() {
	select {
	case c.failed <- struct{}{}:
	default:
	}
}

func (c *Checker) run(ctx context.Context) {
	defer c.probe.close()
	timer := time.NewTimer(jitter(c.opt.Check.InitialJitter))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.failed:
			c.settle(outcome{kind: passive, reason: "a response said so (x-envoy-immediate-health-check-fail)"})
			continue
		case <-timer.C:
		}
		before := c.Flags()
		out := c.check(ctx)
		if ctx.Err() != nil {
			return
		}
		c.settle(out)
		timer.Reset(c.wait((before^c.Flags())&upstream.FailedActiveHC != 0))
	}
}

func (c *Checker) check(ctx context.Context) outcome {
	c.opt.Stats.Attempt.Inc()
	ctx, cancel := context.WithTimeout(ctx, c.opt.Check.Timeout)
	defer cancel()
	out := c.probe.check(ctx)
	if out.kind == network && ctx.Err() != nil {
		out.kind = timeout
	}
	return out
}

// wait is how long it is until the next check; changed tells that the last one changed the state of the host.
func (c *Checker) wait(changed bool) time.Duration {
	check, failed := c.opt.Check, c.Flags()&upstream.FailedActiveHC != 0
	var base time.Duration
	switch traffic := c.opt.Traffic(); {
	case !traffic && failed:
		base = check.NoTrafficInterval
	case !traffic:
		base = check.NoTrafficHealthyInterval
	case failed && changed:
		base = check.UnhealthyEdgeInterval
	case failed:
		base = check.UnhealthyInterval
	case changed:
		base = check.HealthyEdgeInterval
	default:
		base = check.Interval
	}
	return c.bounded(base + jitter(base*time.Duration(check.IntervalJitterPercent)/100) + jitter(check.IntervalJitter))
}

// bounded is an interval within what the runtime allows.
func (c *Checker) bounded(d time.Duration) time.Duration {
	const most = uint64(math.MaxInt64 / time.Millisecond)
	if ms, ok := c.opt.Runtime.Number(model.RuntimeHealthMin); ok {
		d = max(d, time.Duration(min(ms, most))*time.Millisecond)
	}
	if ms, ok := c.opt.Runtime.Number(model.RuntimeHealthMax); ok {
		d = min(d, time.Duration(min(ms, most))*time.Millisecond)
	}
	return d
}

// jitter is a random duration below limit.
func jitter(limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	return rand.N(limit)
}

// settle draws the conclusions from a check.
func (c *Checker) settle(out outcome) {
	before, first := c.Flags(), !c.checked
	next := before &^ (upstream.PendingActiveHC | upstream.ActiveHCTimeout)
	c.checked = true
	if out.kind == success {
		next = c.passed(next, out, first)
	} else {
		next = c.missed(next, out, first)
	}
	c.flags.Store(uint32(next))
	if next != before || first {
		c.opt.Changed()
	}
	if c.opt.Passed != nil && out.kind == success && next&upstream.FailedActiveHC == 0 {
		c.opt.Passed()
	}
}

// passed is the flags after a check that the host passed.
func (c *Checker) passed(flags upstream.HealthFlags, out outcome, first bool) upstream.HealthFlags {
	c.opt.Stats.Success.Inc()
	c.unhealthy = 0
	added := false
	if flags&upstream.FailedActiveHC != 0 {
		c.healthy++
		// The very first success is enough.
		if added = first || c.healthy >= c.opt.Check.HealthyThreshold; added {
			c.healthy = 0
			now := time.Now()
			c.since.Store(&now)
			flags &^= upstream.FailedActiveHC | upstream.ExcludedViaImmediateHCFail
			c.opt.Log.Info("a host passes its health checks", "cluster", c.opt.Target.Cluster, "host", c.opt.Target.Name)
		}
	}
	if added || c.opt.Check.LogSuccess {
		c.event(Event{Kind: AddHealthy, First: first})
	}
	switch was := flags&upstream.DegradedActiveHC != 0; {
	case out.degraded && !was:
		flags |= upstream.DegradedActiveHC
		c.event(Event{Kind: Degraded})
	case !out.degraded && was:
		flags &^= upstream.DegradedActiveHC
		c.event(Event{Kind: NoLongerDegraded})
	}
	return flags
}

// missed is the flags after a check that the host did not pass.
func (c *Checker) missed(flags upstream.HealthFlags, out outcome, first bool) upstream.HealthFlags {
	s := c.opt.Stats
	s.Failure.Inc()
	switch out.kind {
	case network, timeout:
		s.NetworkFailure.Inc()
	case passive:
		s.PassiveFailure.Inc()
		flags |= upstream.ExcludedViaImmediateHCFail
	case wrongService:
		s.VerifyCluster.Inc()
	}
	if out.kind == timeout {
		flags |= upstream.ActiveHCTimeout
	}
	c.healthy = 0
	ejected := false
	if flags&upstream.FailedActiveHC == 0 {
		c.unhealthy++
		// What the host itself says counts at once; what may be the network's fault, after the threshold.
		patient := out.kind == network || out.kind == timeout || out.kind == retriable
		if ejected = !patient || c.unhealthy >= c.opt.Check.UnhealthyThreshold; ejected {
			c.unhealthy = 0
			flags |= upstream.FailedActiveHC
			c.opt.Log.Info("a host fails its health checks", "cluster", c.opt.Target.Cluster, "host", c.opt.Target.Name, "reason", out.reason)
		}
	}
	if ejected {
		c.event(Event{Kind: EjectUnhealthy, Failure: out.kind.failure()})
	}
	if first || c.opt.Check.LogFailures {
		c.event(Event{Kind: CheckFailure, Failure: out.kind.failure(), First: first})
	}
	return flags
}

func (c *Checker) event(e Event) {
	if c.opt.Event == nil {
		return
	}
	e.Checker = c.probe.name()
	c.opt.Event(e)
}
