package model

import "time"

// OutlierDetection takes hosts out whose answers to real traffic are bad (envoy.config.cluster.v3.OutlierDetection). Each number
// may be overruled by the runtime, at RuntimeOutlier and its name.
type OutlierDetection struct {
	// Consecutive errors eject a host when there are so many; 0 never does.
	Consecutive5xx, ConsecutiveGatewayFailure, ConsecutiveLocalOrigin uint32
	// Interval is between two sweeps, which eject by rates and let hosts back. Default 10 s.
	Interval time.Duration
	// BaseEjectionTime times the number of ejections is how long a host is out, at most MaxEjectionTime, and a random time up to
	// MaxEjectionJitter more. Defaults 30 s, 300 s (or the base, if that is longer) and 0.
	BaseEjectionTime, MaxEjectionTime, MaxEjectionJitter time.Duration
	// MaxEjectionPercent of the hosts may be out. Default 10.
	MaxEjectionPercent uint32
	// AlwaysEjectOne lets one host be out, whatever MaxEjectionPercent says.
	AlwaysEjectOne bool
	// SplitLocalOrigin keeps apart what a host answered and what happened on the way to it.
	SplitLocalOrigin bool
	// KeepOnHealthCheck leaves a host out that passes an active check.
	KeepOnHealthCheck bool
	// Enforce is the chance in percent that a host is ejected for a reason.
	Enforce OutlierEnforcement
	// SuccessRate ejects hosts whose rate is Factor/1000 standard deviations below the mean.
	SuccessRate OutlierSuccessRate
	// FailurePercentage ejects hosts of which at least Threshold percent of the requests failed.
	FailurePercentage OutlierFailurePercentage
}

// OutlierEnforcement is the chance of an ejection by its reason, in percent.
type OutlierEnforcement struct {
	Consecutive5xx, ConsecutiveGatewayFailure, ConsecutiveLocalOrigin uint32
	SuccessRate, LocalOriginSuccessRate                               uint32
	FailurePercentage, LocalOriginFailurePercentage                   uint32
}

// OutlierSuccessRate compares hosts that had RequestVolume requests in an interval, if there are MinimumHosts of them.
type OutlierSuccessRate struct{ MinimumHosts, RequestVolume, Factor uint32 }

// OutlierFailurePercentage looks at hosts that had RequestVolume requests in an interval, if there are MinimumHosts of them.
type OutlierFailurePercentage struct{ MinimumHosts, RequestVolume, Threshold uint32 }

// RuntimeOutlier is what the runtime keys of outlier detection begin with, which hold for all clusters.
const RuntimeOutlier = "outlier_detection."
