package outlier

import (
	"time"
)

// Reason is why a host is ejected.
type Reason uint8

// Reasons, in the order of envoy.data.cluster.v3.OutlierEjectionType.
const (
	Consecutive5xx Reason = iota
	ConsecutiveGatewayFailure
	SuccessRate
	ConsecutiveLocalOrigin
	LocalOriginSuccessRate
	FailurePercentage
	LocalOriginFailurePercentage
	reasonCount
)

// reasons are the names of a reason in statistics, and the runtime keys of its threshold and of its chance to be enforced.
var reasons = [reasonCount]struct{ name, threshold, enforcing string }{
	Consecutive5xx:               {"consecutive_5xx", "consecutive_5xx", "enforcing_consecutive_5xx"},
	ConsecutiveGatewayFailure:    {"consecutive_gateway_failure", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"},
	SuccessRate:                  {"success_rate", "", "enforcing_success_rate"},
	ConsecutiveLocalOrigin:       {"consecutive_local_origin_failure", "consecutive_local_origin_failure", "enforcing_consecutive_local_origin_failure"},
	LocalOriginSuccessRate:       {"local_origin_success_rate", "", "enforcing_local_origin_success_rate"},
	FailurePercentage:            {"failure_percentage", "", "enforcing_failure_percentage"},
	LocalOriginFailurePercentage: {"local_origin_failure_percentage", "", "enforcing_failure_percentage_local_origin"},
}

// limit is how many errors in a row are configured to be one too many.
func (d *Detector) limit(r Reason) uint32 {
	switch cfg := d.Config(); r {
	case Consecutive5xx:
		return cfg.Consecutive5xx
	case ConsecutiveGatewayFailure:
		return cfg.ConsecutiveGatewayFailure
	default:
		return cfg.ConsecutiveLocalOrigin
	}
}

// enforced draws whether a host is really ejected.
func (d *Detector) enforced(r Reason) bool {
	e := d.Config().Enforce
	percent := [reasonCount]uint32{
		Consecutive5xx: e.Consecutive5xx, ConsecutiveGatewayFailure: e.ConsecutiveGatewayFailure, SuccessRate: e.SuccessRate,
		ConsecutiveLocalOrigin: e.ConsecutiveLocalOrigin, LocalOriginSuccessRate: e.LocalOriginSuccessRate,
		FailurePercentage: e.FailurePercentage, LocalOriginFailurePercentage: e.LocalOriginFailurePercentage,
	}[r]
	return d.opt.Rand()%100 < d.number(reasons[r].enforcing, percent)
}

// Event is an entry of the event log (envoy.data.cluster.v3.OutlierDetectionEvent).
type Event struct {
	Host *Host
	// Back tells that the host was let back. Otherwise it was ejected for Reason, or would have been, were it Enforced.
	Back     bool
	Reason   Reason
	Enforced bool
	// Ejections is how often the host has been ejected.
	Ejections uint32
	// Since is the time since the last event of the other kind; negative when there was none.
	Since time.Duration
	// Rate is the host's success rate, and Rates those of all hosts: of ejections by rates.
	Rate  float64
	Rates Rates
}

// consecutive ejects a host for errors in a row.
func (d *Detector) consecutive(h *Host, r Reason) {
	d.mu.Lock()
	if _, ok := d.hosts[h]; !ok || h.ejected.Load() {
		d.mu.Unlock()
		return
	}
	if r == Consecutive5xx {
		d.stats.oldConsecutive5xx.Inc()
	}
	events := d.eject(nil, h, Event{Host: h, Reason: r})
	switch r { // the next ones are counted anew, also when nothing came of these
	case Consecutive5xx:
		h.consecutive5xx.Store(0)
	case ConsecutiveGatewayFailure:
		h.gateway.Store(0)
	default:
		h.way.Store(0)
	}
	d.mu.Unlock()
	d.tell(events)
}

// eject takes a host out if that is enforced and not too many are, and adds what there is to be told. The caller holds mu.
func (d *Detector) eject(events []Event, h *Host, e Event) []Event {
	d.stats.detected[e.Reason].Inc()
	cfg := d.Config()
	allowed := min(100, d.number("max_ejection_percent", cfg.MaxEjectionPercent))
	one := d.opt.Runtime.Flag(runtimeAlwaysOne, cfg.AlwaysEjectOne)
	if 100*float64(d.ejected+1)/float64(len(d.hosts)) > float64(allowed) && (!one || d.ejected > 0) {
		d.stats.overflow.Inc()
		return events
	}
	if e.Reason == Consecutive5xx || e.Reason == SuccessRate {
		d.stats.oldTotal.Inc()
	}
	now := time.Now()
	if e.Since = -1; !h.backAt.IsZero() {
		e.Since = now.Sub(h.backAt)
	}
	if e.Enforced = d.enforced(e.Reason); e.Enforced {
		d.stats.enforced[e.Reason].Inc()
		d.stats.enforcedTotal.Inc()
		d.takeOut(h, now)
	}
	e.Ejections = h.ejections
	return append(events, e)
}

// takeOut marks a host as ejected. The caller holds mu.
func (d *Detector) takeOut(h *Host, now time.Time) {
	h.ejections++
	h.ejectedAt = now
	h.jitter = 0
	if most := d.duration("max_ejection_time_jitter_ms", d.Config().MaxEjectionJitter); most > 0 {
		h.jitter = time.Duration(d.opt.Rand() % uint64(most+1))
	}
	base, most := d.times()
	if time.Duration(h.backoff)*base < most+base {
		h.backoff++
	}
	h.ejected.Store(true)
	d.countEjected(1)
}

// times are the base and the longest ejection time.
func (d *Detector) times() (base, most time.Duration) {
	cfg := d.Config()
	base = d.duration("base_ejection_time_ms", cfg.BaseEjectionTime)
	return base, d.duration("max_ejection_time_ms", cfg.MaxEjectionTime)
}

// letBack lets a host back at once.
func (d *Detector) letBack(h *Host) {
	d.mu.Lock()
	events := d.readmit(nil, h, time.Now())
	d.mu.Unlock()
	d.tell(events)
}

// readmit lets a host back, unless it is not out, and adds what there is to be told. The caller holds mu.
func (d *Detector) readmit(events []Event, h *Host, now time.Time) []Event {
	if _, ok := d.hosts[h]; !ok || !h.ejected.Load() {
		return events
	}
	h.ejected.Store(false)
	h.backAt = now
	h.forgive()
	d.countEjected(-1)
	return append(events, Event{Host: h, Back: true, Ejections: h.ejections, Since: now.Sub(h.ejectedAt)})
}

// tell reports what has happened.
func (d *Detector) tell(events []Event) {
	for i := range events {
		e := &events[i]
		if e.Back || e.Enforced {
			d.opt.Changed(e.Host)
		}
		if d.opt.Event != nil {
			d.opt.Event(*e)
		}
	}
}

// runtimeAlwaysOne overrules AlwaysEjectOne.
const runtimeAlwaysOne = "outlier_detection.always_eject_one_host"
