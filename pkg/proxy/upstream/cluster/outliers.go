package cluster

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
)

// OutlierEvent is an entry of the event log of outlier detection.
type OutlierEvent struct {
	outlier.Event
	Cluster string
	Host    *upstream.Host
}

// OutlierRates are the success rates that hosts are ejected by; ok is false without outlier detection.
func (c *Cluster) OutlierRates() (answers, way outlier.Rates, ok bool) {
	d := c.core.outliers.Load()
	if d == nil {
		return answers, way, false
	}
	answers, way = d.Rates()
	return answers, way, true
}

// watchOutliers begins or ends outlier detection as the configuration says now. What was found of hosts is kept when only numbers
// change.
func (c *Cluster) watchOutliers() {
	k, m := c.core, c.manager
	cfg := c.cfg.OutlierDetection
	switch d := k.outliers.Load(); {
	case cfg == nil || c.cfg.Type == model.ClusterOriginalDst:
		k.endOutliers()
	case d != nil:
		d.Configure(cfg)
	default:
		opt := outlier.Options{
			Stats: k.shared.Stats.Scope(), Runtime: m.opt.Runtime, Rand: m.opt.Rand,
			// Whoever reports a result must not wait until the hosts are made anew.
			Changed: func(h *outlier.Host) { m.runtime.Do(h.Owner.(*endpoint).judged) },
		}
		if m.opt.OutlierEvent != nil {
			opt.Event = func(e outlier.Event) { m.outlierEvent(e) }
		}
		k.outliers.Store(outlier.New(cfg, opt))
	}
}

// outlierEvent passes an event on to the log.
func (m *Manager) outlierEvent(e outlier.Event) {
	at := e.Host.Owner.(*endpoint)
	c, h := at.owner.Load(), at.stats.Current.Load()
	if c != nil && h != nil {
		m.opt.OutlierEvent(OutlierEvent{Event: e, Cluster: c.cfg.Name, Host: h})
	}
}

// endOutliers ends outlier detection. Hosts that are out are not any more once they are made anew.
func (k *core) endOutliers() {
	if d := k.outliers.Swap(nil); d != nil {
		d.Close()
	}
}

// judge has an endpoint watched if there is outlier detection, or not watched any more. The caller holds mu.
func (c *Cluster) judge(e *endpoint) {
	switch d, now := c.core.outliers.Load(), e.outlier.Load(); {
	case d == nil && now != nil:
		e.outlier.Store(nil)
	case d != nil && !d.Has(now):
		e.outlier.Store(d.Add(e))
	}
}

// unwatch ends outlier detection for a removed endpoint.
func (e *endpoint) unwatch() {
	if h := e.outlier.Load(); h != nil {
		h.Remove()
	}
}

// flags is what is thought of the endpoint, apart from what the control plane says.
func (e *endpoint) flags() upstream.HealthFlags {
	flags := e.checks.flags()
	if e.outlier.Load().Ejected() {
		flags |= upstream.FailedOutlierCheck
	}
	return flags
}

// connected reports to outlier detection how it went to connect to a host of which nothing else will be reported.
func connected(h *upstream.Host, err error) {
	if h.Outlier == nil {
		return
	}
	var bad *upstream.Error
	switch {
	case err == nil:
		h.Outlier.Put(outlier.ConnectedFinally)
	case errors.As(err, &bad) && bad.Kind == upstream.KindConnectTimeout:
		h.Outlier.Put(outlier.TimedOut)
	case errors.As(err, &bad) && bad.Kind == upstream.KindConnect:
		h.Outlier.Put(outlier.ConnectFailed)
	}
}

// judged is called after the endpoint was ejected or let back.
func (e *endpoint) judged() {
	if c := e.owner.Load(); c != nil {
		c.healthChanged(e)
	}
}

// passed is called after an active check that the endpoint has passed.
func (e *endpoint) passed() { e.outlier.Load().Passed() }
