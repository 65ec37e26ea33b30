package agent

import (
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/cluster/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
)

// logOutlier is what outlier detection tells its events; nil without an event log.
func (a *Agent) logOutlier() func(cluster.OutlierEvent) {
	path := a.cfg.Static.OutlierLog
	if path == "" {
		return nil
	}
	return func(e cluster.OutlierEvent) {
		line, err := eventLine(outlierEvent(&e, time.Now()))
		if err == nil {
			err = a.access.Append(path, line)
		}
		if err != nil {
			a.log.Warn("an outlier event was not logged", "path", path, "error", err)
		}
	}
}

func outlierEvent(e *cluster.OutlierEvent, now time.Time) *datav3.OutlierDetectionEvent {
	m := &datav3.OutlierDetectionEvent{
		Type: datav3.OutlierEjectionType(e.Reason), Timestamp: timestamppb.New(now), ClusterName: e.Cluster, UpstreamUrl: e.Host.Name(),
		NumEjections: e.Ejections, Enforced: e.Enforced,
	}
	if e.Since >= 0 {
		m.SecsSinceLastAction = wrapperspb.UInt64(uint64(e.Since / time.Second))
	}
	if e.Back {
		m.Action = datav3.Action_UNEJECT
		return m
	}
	switch e.Reason {
	case outlier.SuccessRate, outlier.LocalOriginSuccessRate:
		m.Event = &datav3.OutlierDetectionEvent_EjectSuccessRateEvent{EjectSuccessRateEvent: &datav3.OutlierEjectSuccessRate{
			HostSuccessRate: uint32(e.Rate), ClusterAverageSuccessRate: uint32(e.Rates.Mean),
			ClusterSuccessRateEjectionThreshold: uint32(max(e.Rates.Threshold, 0)),
		}}
	case outlier.FailurePercentage, outlier.LocalOriginFailurePercentage:
		m.Event = &datav3.OutlierDetectionEvent_EjectFailurePercentageEvent{
			EjectFailurePercentageEvent: &datav3.OutlierEjectFailurePercentage{HostSuccessRate: uint32(e.Rate)},
		}
	default:
		m.Event = &datav3.OutlierDetectionEvent_EjectConsecutiveEvent{EjectConsecutiveEvent: &datav3.OutlierEjectConsecutive{}}
	}
	return m
}
