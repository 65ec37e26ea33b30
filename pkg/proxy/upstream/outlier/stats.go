package outlier

import "github.com/weir-proxy/weir/pkg/observe/stats"

// counters are cluster.<name>.outlier_detection.* (Envoy docs, "Outlier detection statistics").
type counters struct {
	active                   *stats.Gauge
	enforcedTotal, overflow  *stats.Counter
	detected, enforced       [reasonCount]*stats.Counter
	oldTotal, oldSuccessRate *stats.Counter // deprecated names
	oldConsecutive5xx        *stats.Counter
}

func newCounters(cluster *stats.Scope) *counters {
	sc := cluster.Scope("outlier_detection")
	c := &counters{
		active: sc.Gauge("ejections_active"), enforcedTotal: sc.Counter("ejections_enforced_total"), overflow: sc.Counter("ejections_overflow"),
		oldTotal: sc.Counter("ejections_total"), oldSuccessRate: sc.Counter("ejections_success_rate"),
		oldConsecutive5xx: sc.Counter("ejections_consecutive_5xx"),
	}
	for r := range reasonCount {
		c.detected[r] = sc.Counter("ejections_detected_" + reasons[r].name)
		c.enforced[r] = sc.Counter("ejections_enforced_" + reasons[r].name)
	}
	return c
}
