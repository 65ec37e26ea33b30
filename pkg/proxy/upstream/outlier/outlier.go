// Package outlier takes hosts out of balancing whose answers to real traffic are bad, and lets them back after a while, as Envoy
// does (Envoy docs, "Outlier detection").
//
// It owns what is known of a host's results, and who is ejected. It must not know clusters, balancers or protobuf: a cluster has
// a Detector, gives it its hosts, and is told of changes. Results may be reported from any goroutine and take no lock unless they
// eject a host; Detector.mu guards who is ejected. Callbacks are called without it, from whatever goroutine caused the change.
package outlier

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Options are what a Detector works with.
type Options struct {
	// Stats is the scope "cluster.<name>.".
	Stats *stats.Scope
	// Runtime overrules the configuration; nil does not.
	Runtime *model.Runtime
	// Rand gives random bits; nil is the runtime's generator.
	Rand func() uint64
	// Changed is told that a host was ejected or let back.
	Changed func(*Host)
	// Event is told what belongs into the event log, which is more than what Changed is told; nil drops it.
	Event func(Event)
}

// Detector watches the hosts of a cluster. Make it with New; it must be closed.
type Detector struct {
	opt   Options
	stats *counters
	cfg   atomic.Pointer[model.OutlierDetection]

	mu      sync.Mutex
	hosts   map[*Host]struct{}
	ejected int // of hosts
	sweeps  *time.Timer
	closed  bool
	// rates are those of the last sweep that compared hosts, by origin.
	rates [origins]Rates
}

// Rates are the mean success rate of the hosts and the rate below which a host is ejected, in percent; -1 when there were too few
// hosts with enough requests.
type Rates struct{ Mean, Threshold float64 }

var noRates = Rates{-1, -1}

// origin is who caused an error.
type origin uint8

const (
	// external is what the host answered, and without SplitLocalOrigin everything.
	external origin = iota
	// local is what happened on the way to the host.
	local
	origins
)

// New makes a detector without hosts.
func New(cfg *model.OutlierDetection, opt Options) *Detector {
	if opt.Rand == nil {
		opt.Rand = rand.Uint64
	}
	d := &Detector{opt: opt, stats: newCounters(opt.Stats), hosts: make(map[*Host]struct{}), rates: [origins]Rates{noRates, noRates}}
	d.cfg.Store(cfg)
	d.sweeps = time.AfterFunc(d.interval(), d.sweep)
	return d
}

// Configure replaces the configuration. Hosts that are out stay so until their time is over. Errors in a row are counted anew when
// anything changed, since a count that is beyond a new limit would never meet it, and so is the time to the next sweep.
func (d *Detector) Configure(cfg *model.OutlierDetection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.cfg.Swap(cfg); *old == *cfg || d.closed {
		return
	}
	for h := range d.hosts {
		if !h.ejected.Load() {
			h.forgive()
		}
	}
	d.sweeps.Reset(d.interval())
}

// Config is the configuration in force.
func (d *Detector) Config() *model.OutlierDetection { return d.cfg.Load() }

// Close ends the sweeps, and lets go of all hosts without telling.
func (d *Detector) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.sweeps.Stop()
	for h := range d.hosts {
		d.forget(h)
	}
}

// Add begins to watch a host, which owner stands for.
func (d *Detector) Add(owner any) *Host {
	h := &Host{Owner: owner, d: d}
	for i := range h.rate {
		h.rate[i].Store(noRate)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.hosts[h] = struct{}{}
	}
	return h
}

// Has tells whether a host is one of the detector's, which nil is not.
func (d *Detector) Has(h *Host) bool { return h != nil && h.d == d }

// forget is Remove. The caller holds mu.
func (d *Detector) forget(h *Host) {
	if _, ok := d.hosts[h]; !ok {
		return
	}
	delete(d.hosts, h)
	if h.ejected.Load() {
		d.countEjected(-1)
	}
}

// countEjected changes the number of hosts that are out. The caller holds mu.
func (d *Detector) countEjected(by int) {
	d.ejected += by
	d.stats.active.Set(uint64(d.ejected))
}

// Rates are what the last sweep found, of what hosts answered and of what happened on the way to them.
func (d *Detector) Rates() (answers, way Rates) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rates[external], d.rates[local]
}

// number is a number of the configuration, or what the runtime says in its place.
func (d *Detector) number(key string, configured uint32) uint64 {
	if n, ok := d.opt.Runtime.Number(model.RuntimeOutlier + key); ok {
		return n
	}
	return uint64(configured)
}

// duration is a time of the configuration, or the milliseconds that the runtime says in its place.
func (d *Detector) duration(key string, configured time.Duration) time.Duration {
	const most = 1 << 40 // thirty years
	if n, ok := d.opt.Runtime.Number(model.RuntimeOutlier + key); ok {
		return time.Duration(min(n, most)) * time.Millisecond
	}
	return configured
}

func (d *Detector) interval() time.Duration {
	return max(d.duration("interval_ms", d.Config().Interval), time.Millisecond)
}
