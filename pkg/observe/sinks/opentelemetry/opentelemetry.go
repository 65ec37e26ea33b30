// Package opentelemetry ships statistics to OpenTelemetry collectors over gRPC (envoy.stat_sinks.open_telemetry).
//
// It owns the translation of statistics into OTLP metrics (opentelemetry-proto 1.x). It must not know where statistics come
// from or how the collector is reached. A sink is used from one goroutine.
package opentelemetry

import (
	"context"
	"fmt"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// export is the method of a collector. Its request, ExportMetricsServiceRequest, is on the wire the same as MetricsData, and
// nothing in its response is of use; the package of both would bring an HTTP gateway along.
const export = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

// Config configures a sink.
type Config struct {
	// CounterDeltas and HistogramDeltas report what happened in the interval instead of since the start.
	CounterDeltas, HistogramDeltas bool
	// WithoutAttributes leaves tags out; FullNames keeps their values in the names.
	WithoutAttributes, FullNames bool
	// Prefix comes before all names.
	Prefix string
	// MaxPoints bounds the data points of a request; 0 does not.
	MaxPoints int
}

var _ sinks.Builder = (*Config)(nil)

// Build implements sinks.Builder.
func (c *Config) Build(deps sinks.Deps, service model.GRPCService) sinks.Sink {
	return &sink{cfg: c, deps: deps, service: service}
}

type sink struct {
	cfg     *Config
	deps    sinks.Deps
	service model.GRPCService
}

// Close implements sinks.Sink.
func (s *sink) Close() {}

// Flush implements sinks.Sink.
func (s *sink) Flush(ctx context.Context, f *sinks.Flush) error {
	conn, err := s.deps.GRPC(s.service)
	if err != nil {
		return fmt.Errorf("reach the collector: %w", err)
	}
	for _, h := range s.service.InitialMetadata {
		ctx = metadata.AppendToOutgoingContext(ctx, h.Name, h.Value)
	}
	r := &request{
		cfg: s.cfg, flush: f,
		send: func(metrics []*metricspb.Metric) error {
			return conn.Invoke(ctx, export, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
				ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: metrics}},
			}}}, &emptypb.Empty{})
		},
	}
	if err := r.build(); err != nil {
		return fmt.Errorf("export to the collector: %w", err)
	}
	return nil
}

// request collects the metrics of an interval.
type request struct {
	cfg   *Config
	flush *sinks.Flush
	send  func([]*metricspb.Metric) error

	metrics []*metricspb.Metric
	points  int
	// base and kind are of the last metric, which takes further points of that name.
	base string
	kind stats.Kind
}

// build sends the metrics whenever there are enough, and the rest.
func (r *request) build() error {
	if err := sinks.Each(r.flush.Store, r.add, stats.GaugeKind, stats.CounterKind, stats.HistogramKind); err != nil {
		return err
	}
	if len(r.metrics) == 0 {
		return nil
	}
	return r.send(r.metrics)
}

func (r *request) add(base string, tags []stats.Tag, x *stats.Series) error {
	if x.Kind() == stats.CounterKind && r.cfg.CounterDeltas && x.Delta() == 0 {
		return nil
	}
	if r.cfg.MaxPoints > 0 && r.points >= r.cfg.MaxPoints {
		if err := r.send(r.metrics); err != nil {
			return err
		}
		r.metrics, r.points = nil, 0
	}
	m := r.metric(base, x)
	r.points++
	now, from := nanos(r.flush.Now), nanos(r.flush.Start)
	switch data := m.Data.(type) {
	case *metricspb.Metric_Gauge:
		data.Gauge.DataPoints = append(data.Gauge.DataPoints, &metricspb.NumberDataPoint{
			TimeUnixNano: now, Attributes: r.attributes(tags), Value: &metricspb.NumberDataPoint_AsInt{AsInt: int64(x.Value())},
		})
	case *metricspb.Metric_Sum:
		n := x.Value()
		if r.cfg.CounterDeltas {
			n, from = x.Delta(), nanos(r.flush.Last)
		}
		data.Sum.DataPoints = append(data.Sum.DataPoints, &metricspb.NumberDataPoint{
			StartTimeUnixNano: from, TimeUnixNano: now, Attributes: r.attributes(tags), Value: &metricspb.NumberDataPoint_AsInt{AsInt: int64(n)},
		})
	case *metricspb.Metric_Histogram:
		d := x.Histogram().Cumulative()
		if r.cfg.HistogramDeltas {
			d, from = x.Histogram().Interval(), nanos(r.flush.Last)
		}
		sum := d.Sum()
		data.Histogram.DataPoints = append(data.Histogram.DataPoints, &metricspb.HistogramDataPoint{
			StartTimeUnixNano: from, TimeUnixNano: now, Attributes: r.attributes(tags), Count: d.Count(), Sum: &sum,
			ExplicitBounds: x.Bounds(), BucketCounts: buckets(&d, x.Bounds()),
		})
	}
	return nil
}

// metric gives the metric that a stat belongs to.
func (r *request) metric(base string, x *stats.Series) *metricspb.Metric {
	if n := len(r.metrics); n > 0 && !r.cfg.FullNames && r.base == base && r.kind == x.Kind() {
		return r.metrics[n-1]
	}
	r.base, r.kind = base, x.Kind()
	m := &metricspb.Metric{Name: r.cfg.Prefix + base}
	if r.cfg.FullNames {
		m.Name = r.cfg.Prefix + string(x.Name())
	}
	switch x.Kind() {
	case stats.GaugeKind:
		m.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{}}
	case stats.CounterKind:
		m.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{IsMonotonic: true, AggregationTemporality: temporality(r.cfg.CounterDeltas)}}
	default:
		m.Data = &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{AggregationTemporality: temporality(r.cfg.HistogramDeltas)}}
		if unit := units[x.Histogram().Unit()]; unit != "" {
			m.Unit = unit
		}
	}
	r.metrics = append(r.metrics, m)
	return m
}

// units are those of UCUM. Read only.
var units = map[stats.Unit]string{stats.Bytes: "By", stats.Microseconds: "us", stats.Milliseconds: "ms"}

func temporality(deltas bool) metricspb.AggregationTemporality {
	if deltas {
		return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	}
	return metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
}

// buckets are the counts of the buckets that end at the bounds, and of the one behind the last.
func buckets(d *stats.Distribution, bounds []float64) []uint64 {
	counts := d.Cumulative(bounds)
	below := uint64(0)
	for i, n := range counts {
		counts[i], below = n-below, n
	}
	return append(counts, d.Count()-below)
}

func (r *request) attributes(tags []stats.Tag) []*commonpb.KeyValue {
	if r.cfg.WithoutAttributes {
		return nil
	}
	out := make([]*commonpb.KeyValue, len(tags))
	for i, t := range tags {
		out[i] = &commonpb.KeyValue{Key: t.Name, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: t.Value}}}
	}
	return out
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }
