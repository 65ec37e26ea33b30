package metricsservice

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the sink envoy.stat_sinks.metrics_service.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.StatsSinks, Name: "envoy.stat_sinks.metrics_service", Aliases: []string{"envoy.metrics_service"},
		Config: &metricsv3.MetricsServiceConfig{},
		Decode: func(m proto.Message) (any, error) { return decode(m.(*metricsv3.MetricsServiceConfig)) },
		Support: map[string]extension.Fields{
			"envoy.config.metrics.v3.MetricsServiceConfig": {
				"grpc_service": {}, "transport_api_version": {}, "report_counters_as_deltas": {}, "emit_tags_as_labels": {},
				"histogram_emit_mode": {}, "batch_size": {},
			},
		},
	}
}

func decode(m *metricsv3.MetricsServiceConfig) (*Config, error) {
	if v := m.GetTransportApiVersion(); v == corev3.ApiVersion_V2 {
		return nil, fmt.Errorf("transport_api_version: %s is not supported, want V3", v)
	}
	c := &Config{
		Deltas: m.GetReportCountersAsDeltas().GetValue(), Labels: m.GetEmitTagsAsLabels(), BatchSize: int(m.GetBatchSize()),
		Summaries: true, Histograms: true,
	}
	switch m.GetHistogramEmitMode() {
	case metricsv3.HistogramEmitMode_SUMMARY:
		c.Histograms = false
	case metricsv3.HistogramEmitMode_HISTOGRAM:
		c.Summaries = false
	}
	return c, nil
}
