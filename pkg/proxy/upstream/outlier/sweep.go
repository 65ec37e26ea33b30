package outlier

import (
	"math"
	"time"
)

// sweep lets hosts back whose time is over, and ejects those whose rates are bad. It arms the timer for the next one.
func (d *Detector) sweep() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	var events []Event
	now := time.Now()
	for h := range d.hosts {
		events = d.review(events, h, now)
	}
	for o := range origins {
		events = d.compare(events, o)
	}
	d.sweeps.Reset(d.interval())
	d.mu.Unlock()
	d.tell(events)
}

// review lets a host back if its time is over. The caller holds mu.
func (d *Detector) review(events []Event, h *Host, now time.Time) []Event {
	if !h.ejected.Load() {
		if h.backoff > 0 { // another interval without fault
			h.backoff--
		}
		return events
	}
	base, most := d.times()
	if now.Sub(h.ejectedAt) >= min(base*time.Duration(h.backoff), most)+h.jitter {
		return d.readmit(events, h, now)
	}
	return events
}

// sample is a host's success rate in the last interval.
type sample struct {
	host *Host
	rate float64
}

// compare ends the interval, and ejects the hosts whose rates in it were bad. The caller holds mu.
func (d *Detector) compare(events []Event, o origin) []Event {
	cfg := d.Config()
	volume := d.number("success_rate_request_volume", cfg.SuccessRate.RequestVolume)
	failureVolume := d.number("failure_percentage_request_volume", cfg.FailurePercentage.RequestVolume)
	var rated, failing []sample
	for h := range d.hosts {
		total, ok := h.seen[o].total.Swap(0), h.seen[o].ok.Swap(0)
		h.rate[o].Store(noRate)
		if total == 0 || h.ejected.Load() {
			continue
		}
		rate := 100 * min(1, float64(ok)/float64(total)) // a request may have been counted between the two
		if total >= min(volume, failureVolume) {
			h.rate[o].Store(math.Float64bits(rate))
		}
		if total >= volume {
			rated = append(rated, sample{h, rate})
		}
		if total >= failureVolume {
			failing = append(failing, sample{h, rate})
		}
	}
	d.rates[o] = noRates
	if n := uint64(len(rated)); n > 0 && n >= d.number("success_rate_minimum_hosts", cfg.SuccessRate.MinimumHosts) {
		events = d.ejectBelow(events, o, rated)
	}
	if n := uint64(len(failing)); n > 0 && n >= d.number("failure_percentage_minimum_hosts", cfg.FailurePercentage.MinimumHosts) {
		events = d.ejectFailing(events, o, failing)
	}
	return events
}

// ejectBelow ejects the hosts whose success rate is too far below the mean. The caller holds mu.
func (d *Detector) ejectBelow(events []Event, o origin, all []sample) []Event {
	sum, squares, n := 0.0, 0.0, float64(len(all))
	for _, s := range all {
		sum += s.rate
	}
	mean := sum / n
	for _, s := range all {
		squares += (s.rate - mean) * (s.rate - mean)
	}
	factor := float64(d.number("success_rate_stdev_factor", d.Config().SuccessRate.Factor)) / 1000
	d.rates[o] = Rates{Mean: mean, Threshold: mean - factor*math.Sqrt(squares/n)}
	reason := [origins]Reason{external: SuccessRate, local: LocalOriginSuccessRate}[o]
	for _, s := range all {
		if s.rate >= d.rates[o].Threshold || s.host.ejected.Load() {
			continue
		}
		if o == external {
			d.stats.oldSuccessRate.Inc()
		}
		events = d.eject(events, s.host, Event{Host: s.host, Reason: reason, Rate: s.rate, Rates: d.rates[o]})
	}
	return events
}

// ejectFailing ejects the hosts too many of whose requests failed. The caller holds mu.
func (d *Detector) ejectFailing(events []Event, o origin, all []sample) []Event {
	most := float64(d.number("failure_percentage_threshold", d.Config().FailurePercentage.Threshold))
	reason := [origins]Reason{external: FailurePercentage, local: LocalOriginFailurePercentage}[o]
	for _, s := range all {
		if 100-s.rate >= most && !s.host.ejected.Load() {
			events = d.eject(events, s.host, Event{Host: s.host, Reason: reason, Rate: s.rate})
		}
	}
	return events
}
