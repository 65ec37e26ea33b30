package store

import (
	"hash/fnv"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// subscriptionStats are Envoy's statistics of one subscription (cds., lds., http.X.rds.Y., cluster.X., sds.X.).
type subscriptionStats struct {
	scope                                             *stats.Scope
	attempt, success, failure, rejected, fetchTimeout *stats.Counter
	version, updateTime                               *stats.Gauge
	versionText                                       *stats.TextReadout
	duration                                          *stats.Histogram
	configReload                                      *stats.Counter
	// configFail and configConflict are of filter configurations only; nil for all others.
	configFail, configConflict *stats.Counter
}

func newSubscriptionStats(scope *stats.Scope) *subscriptionStats {
	return &subscriptionStats{
		scope:        scope,
		attempt:      scope.Counter("update_attempt"),
		success:      scope.Counter("update_success"),
		failure:      scope.Counter("update_failure"),
		rejected:     scope.Counter("update_rejected"),
		fetchTimeout: scope.Counter("init_fetch_timeout"),
		configReload: scope.Counter("config_reload"),
		version:      scope.Gauge("version"),
		updateTime:   scope.Gauge("update_time"),
		versionText:  scope.TextReadout("version_text"),
		duration:     scope.Histogram("update_duration", stats.Milliseconds),
	}
}

// newFilterStats are those of the subscription to a filter configuration (extension_config_discovery.http_filter.X.).
func newFilterStats(scope *stats.Scope) *subscriptionStats {
	s := newSubscriptionStats(scope)
	s.configFail, s.configConflict = scope.Counter("config_fail"), scope.Counter("config_conflict")
	return s
}

// failed counts a configuration that did not come or could not be used.
func (s *subscriptionStats) failed() {
	if s.configFail != nil {
		s.configFail.Inc()
	}
}

func (s *subscriptionStats) close() { s.scope.Close() }

// accepted counts an applied update.
func (s *subscriptionStats) accepted(version string, now time.Time, took time.Duration) {
	s.success.Inc()
	s.updateTime.Set(uint64(now.UnixMilli()))
	s.versionText.Set(version)
	h := fnv.New64a()
	_, _ = h.Write([]byte(version)) // never fails
	s.version.Set(h.Sum64() >> 1)   // gauges hold 63 bits
	s.duration.Record(uint64(took.Milliseconds()))
}
