package translate

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of outlier detection.
const (
	defaultOutlierInterval    = 10 * time.Second
	defaultOutlierBase        = 30 * time.Second
	defaultOutlierMost        = 300 * time.Second
	defaultOutlierErrors      = 5
	defaultOutlierPercent     = 10
	defaultOutlierHosts       = 5
	defaultOutlierVolume      = 100
	defaultOutlierFactor      = 1900
	defaultOutlierThreshold   = 85
	defaultOutlierFailVolume  = 50
	enforcedByDefault         = 100
	enforcedOnlyWhereAskedFor = 0
)

// outlierDetection translates how hosts are ejected; nil without.
func (c *call) outlierDetection(m *clusterv3.OutlierDetection, out *model.Cluster) {
	p := (*path)(nil).field("outlier_detection")
	if m == nil {
		return
	}
	if out.Type == model.ClusterOriginalDst {
		c.warn(p, "has no effect: connections choose the hosts of an ORIGINAL_DST cluster, whatever is known of them")
	}
	base := c.duration(m.GetBaseEjectionTime(), defaultOutlierBase, p, "base_ejection_time")
	o := &model.OutlierDetection{
		Consecutive5xx:            u32(m.GetConsecutive_5Xx(), defaultOutlierErrors),
		ConsecutiveGatewayFailure: u32(m.GetConsecutiveGatewayFailure(), defaultOutlierErrors),
		ConsecutiveLocalOrigin:    u32(m.GetConsecutiveLocalOriginFailure(), defaultOutlierErrors),
		Interval:                  c.duration(m.GetInterval(), defaultOutlierInterval, p, "interval"),
		BaseEjectionTime:          base,
		MaxEjectionTime:           c.duration(m.GetMaxEjectionTime(), max(defaultOutlierMost, base), p, "max_ejection_time"),
		MaxEjectionJitter:         c.duration(m.GetMaxEjectionTimeJitter(), 0, p, "max_ejection_time_jitter"),
		MaxEjectionPercent:        u32(m.GetMaxEjectionPercent(), defaultOutlierPercent),
		AlwaysEjectOne:            m.GetAlwaysEjectOneHost().GetValue(),
		SplitLocalOrigin:          m.GetSplitExternalLocalOriginErrors(),
		KeepOnHealthCheck:         !isSet(m.GetSuccessfulActiveHealthCheckUnejectHost(), true),
		SuccessRate: model.OutlierSuccessRate{
			MinimumHosts:  u32(m.GetSuccessRateMinimumHosts(), defaultOutlierHosts),
			RequestVolume: u32(m.GetSuccessRateRequestVolume(), defaultOutlierVolume),
			Factor:        u32(m.GetSuccessRateStdevFactor(), defaultOutlierFactor),
		},
		FailurePercentage: model.OutlierFailurePercentage{
			MinimumHosts:  u32(m.GetFailurePercentageMinimumHosts(), defaultOutlierHosts),
			RequestVolume: u32(m.GetFailurePercentageRequestVolume(), defaultOutlierFailVolume),
			Threshold:     u32(m.GetFailurePercentageThreshold(), defaultOutlierThreshold),
		},
	}
	o.Enforce = outlierEnforcement(m)
	if o.MaxEjectionTime < o.BaseEjectionTime {
		c.fail(p.field("max_ejection_time"), "outlier detector's max_ejection_time cannot be smaller than base_ejection_time")
	}
	out.OutlierDetection = o
}

func outlierEnforcement(m *clusterv3.OutlierDetection) model.OutlierEnforcement {
	return model.OutlierEnforcement{
		Consecutive5xx:               u32(m.GetEnforcingConsecutive_5Xx(), enforcedByDefault),
		ConsecutiveGatewayFailure:    u32(m.GetEnforcingConsecutiveGatewayFailure(), enforcedOnlyWhereAskedFor),
		ConsecutiveLocalOrigin:       u32(m.GetEnforcingConsecutiveLocalOriginFailure(), enforcedByDefault),
		SuccessRate:                  u32(m.GetEnforcingSuccessRate(), enforcedByDefault),
		LocalOriginSuccessRate:       u32(m.GetEnforcingLocalOriginSuccessRate(), enforcedByDefault),
		FailurePercentage:            u32(m.GetEnforcingFailurePercentage(), enforcedOnlyWhereAskedFor),
		LocalOriginFailurePercentage: u32(m.GetEnforcingFailurePercentageLocalOrigin(), enforcedOnlyWhereAskedFor),
	}
}
