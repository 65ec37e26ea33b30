package acceleration

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// counted is what the statistics have been told. They are there when acceleration was asked for:
//
//	weir.acceleration.mode_asked, mode     gauges: 0 OFF, 1 RECEIVE, 2 FULL; mode is what is in force
//	weir.acceleration.active               gauge: connections that are accelerated, on each side of weir
//	weir.acceleration.accelerated_total    such connections so far
//	weir.acceleration.messages_total       sends that went past TCP, and their bytes:
//	weir.acceleration.bytes_total
//	weir.acceleration.fallback.REASON      sends on accelerated connections that went through TCP: over_limit (too much was
//	                                       unread), behind_tcp (something that had gone through TCP was)
//	weir.acceleration.sockets_total        sockets of applications that were taken in
//	weir.acceleration.not_taken.REASON     those that were not: no_room, early_data (TCP Fast Open), multipath,
//	                                       zerocopy (MSG_ZEROCOPY)
//	weir.acceleration.not_accelerated.REASON  connections of weir's that were looked at and left as they are
type counted struct {
	scope  *stats.Scope
	active *stats.Gauge
	totals map[string]uint64
}

func (c *counted) begin(root *stats.Scope, asked, mode model.AccelerationMode) {
	c.scope = root.Scope("weir.acceleration")
	c.scope.Gauge("mode_asked").Set(uint64(asked))
	c.scope.Gauge("mode").Set(uint64(mode))
	c.active = c.scope.Gauge("active")
	c.totals = make(map[string]uint64)
}

// Count brings the statistics up to date.
func (a *Acceleration) Count() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kernel == nil || a.closed {
		return
	}
	now, err := a.kernel.Status()
	if err != nil {
		return // the next one will tell
	}
	totals := map[string]uint64{
		"accelerated_total": now.Accelerated, "messages_total": now.Messages, "bytes_total": now.Bytes, "sockets_total": now.Sockets,
	}
	for prefix, reasons := range map[string]map[string]uint64{
		"fallback.": fallbacks(&now), "not_taken.": notTaken(&now), "not_accelerated.": now.Refused,
	} {
		for reason, n := range reasons {
			totals[prefix+reason] = n
		}
	}
	c := &a.counted
	c.active.Set(now.Active)
	for name, n := range totals {
		c.scope.Counter(name).Add(n - c.totals[name])
	}
	c.totals = totals
}
