package store

import (
	"errors"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// subscriptionStats are Envoy's statistics of one subscription (cds., lds., http.X.rds.Y., cluster.X., sds.X.).
type subscriptionStats struct {
	scope *stats.Scope
	// polled tells that the subscription asks from time to time; others are told.
	polled                                            bool
	attempt, success, failure, rejected, fetchTimeout *stats.Counter
	version, updateTime                               *stats.Gauge
	versionText                                       *stats.TextReadout
	duration                                          *stats.Histogram
	configReload                                      *stats.Counter
	// configFail and configConflict are of filter configurations only; nil for all others.
	configFail, configConflict *stats.Counter
	// keyRotationFailed is of secrets only; nil for all others.
	keyRotationFailed *stats.Counter
}

// subscriptionLayout is what each subscription has; with thousands of them it matters that it is one registration.
var subscriptionLayout = stats.NewLayout(func(f *stats.Fields, s *subscriptionStats) {
	f.Counter("update_attempt", &s.attempt)
	f.Counter("update_success", &s.success)
	f.Counter("update_failure", &s.failure)
	f.Counter("update_rejected", &s.rejected)
	f.Counter("init_fetch_timeout", &s.fetchTimeout)
	f.Counter("config_reload", &s.configReload)
	f.Gauge("version", &s.version)
	f.Gauge("update_time", &s.updateTime)
	f.TextReadout("version_text", &s.versionText)
	f.Histogram("update_duration", stats.Milliseconds, &s.duration)
})

func newSubscriptionStats(scope *stats.Scope) *subscriptionStats {
	s := &subscriptionStats{scope: scope}
	subscriptionLayout.Fill(scope, s)
	return s
}

// newFilterStats are those of the subscription to a filter configuration (extension_config_discovery.http_filter.X.).
func newFilterStats(scope *stats.Scope) *subscriptionStats {
	s := newSubscriptionStats(scope)
	s.configFail, s.configConflict = scope.Counter("config_fail"), scope.Counter("config_conflict")
	return s
}

// newSecretStats are those of the subscription to a secret (sds.X.).
func newSecretStats(scope *stats.Scope) *subscriptionStats {
	s := newSubscriptionStats(scope)
	s.keyRotationFailed = scope.Counter("key_rotation_failed")
	return s
}

// putCluster makes e the newest form of a cluster and tells whether anything changed. While it warms, its gauge
// cluster.<name>.warming_state says so.
func (s *Store) putCluster(e *Entry[*model.Cluster]) bool {
	if !s.clusters.put(s.deps, e.Value.Name, e) {
		return false
	}
	if e.wait.left == 0 {
		return true
	}
	scope := s.opt.Stats.Scope("cluster." + e.Value.StatName())
	state := scope.Gauge("warming_state")
	state.Set(1)
	e.wait.over = func() {
		state.Set(0)
		scope.Close()
	}
	return true
}

// failed counts a configuration that did not come or could not be used.
func (s *subscriptionStats) failed() {
	if s.configFail != nil {
		s.configFail.Inc()
	}
}

// unanswered counts an update that could not be had, or, as Envoy tells them apart, that came over HTTP and could not be
// read.
func (s *subscriptionStats) unanswered(err error) {
	s.pushed()
	if errors.Is(err, xds.ErrUnreadable) {
		s.rejected.Inc()
		return
	}
	s.failure.Inc()
}

func (s *subscriptionStats) close() { s.scope.Close() }

// accepted counts an applied update.
func (s *subscriptionStats) accepted(version string, now time.Time, took time.Duration) {
	s.success.Inc()
	s.pushed()
	s.updateTime.Set(uint64(now.UnixMilli()))
	s.versionText.Set(version)
	s.version.SetHash(xxhash.Sum64String(version)) // Envoy's hash, so that fleets of both can be compared
	s.duration.Record(uint64(took.Milliseconds()))
}
