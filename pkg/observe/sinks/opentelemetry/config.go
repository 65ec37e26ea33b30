package opentelemetry

import (
	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the sink envoy.stat_sinks.open_telemetry.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.StatsSinks, Name: "envoy.stat_sinks.open_telemetry", Config: &sinkv3.SinkConfig{},
		Decode: func(m proto.Message) (any, error) { return decode(m.(*sinkv3.SinkConfig)), nil },
		Support: map[string]extension.Fields{
			"envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig": {
				"grpc_service": {}, "report_counters_as_deltas": {}, "report_histograms_as_deltas": {},
				"emit_tags_as_attributes": {}, "use_tag_extracted_name": {}, "prefix": {}, "max_data_points_per_request": {},
			},
		},
	}
}

func decode(m *sinkv3.SinkConfig) *Config {
	c := &Config{
		CounterDeltas: m.GetReportCountersAsDeltas(), HistogramDeltas: m.GetReportHistogramsAsDeltas(),
		WithoutAttributes: m.GetEmitTagsAsAttributes() != nil && !m.GetEmitTagsAsAttributes().GetValue(),
		FullNames:         m.GetUseTagExtractedName() != nil && !m.GetUseTagExtractedName().GetValue(),
		MaxPoints:         int(m.GetMaxDataPointsPerRequest()),
	}
	if m.GetPrefix() != "" {
		c.Prefix = m.GetPrefix() + "."
	}
	return c
}
