// Package metricsservice streams statistics to a metrics service over gRPC (envoy.stat_sinks.metrics_service).
//
// It owns the stream and the translation into Prometheus metric families. It must not know where statistics come from or how
// the service is reached. A sink is used from one goroutine.
package metricsservice

import (
	"context"
	"errors"
	"fmt"
	"io"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	prom "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// quantiles are those that Envoy reports. Read only.
var quantiles = []float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1}

// Config configures a sink.
type Config struct {
	// Deltas reports what counters counted in the interval instead of since the start.
	Deltas bool
	// Labels sends names without the values of tags, and the tags as labels.
	Labels bool
	// Summaries and Histograms say how histograms are sent; both may be set.
	Summaries, Histograms bool
	// BatchSize bounds the metric families of a message; 0 does not.
	BatchSize int
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

	stream servicev3.MetricsService_StreamMetricsClient // nil before the first flush, and after an error
	cancel context.CancelFunc
}

// Flush implements sinks.Sink. The stream lives on from flush to flush; its first message says who we are.
func (s *sink) Flush(ctx context.Context, f *sinks.Flush) error {
	b := &batch{cfg: s.cfg, now: f.Now.UnixMilli()}
	if err := sinks.Each(f.Store, b.add, stats.CounterKind, stats.GaugeKind, stats.HistogramKind); err != nil {
		return err
	}
	size := s.cfg.BatchSize
	if size == 0 {
		size = len(b.families)
	}
	for len(b.families) > 0 {
		n := min(size, len(b.families))
		if err := s.send(ctx, &servicev3.StreamMetricsMessage{EnvoyMetrics: b.families[:n]}); err != nil {
			s.Close()
			return fmt.Errorf("send to the metrics service: %w", err)
		}
		b.families = b.families[n:]
	}
	return nil
}

// Close implements sinks.Sink.
func (s *sink) Close() {
	if s.stream != nil {
		_ = s.stream.CloseSend() // it fails only when the stream is over
		s.cancel()
		s.stream = nil
	}
}

// send sends a message. When the service has ended the stream since the last one, a new stream takes it: what an interval counted
// is not told twice.
func (s *sink) send(ctx context.Context, m *servicev3.StreamMetricsMessage) error {
	old := s.stream != nil
	err := s.try(ctx, m)
	if err == nil || !old || ctx.Err() != nil {
		return err
	}
	s.Close()
	return s.try(ctx, m)
}

func (s *sink) try(ctx context.Context, m *servicev3.StreamMetricsMessage) error {
	if s.stream == nil {
		if err := s.open(); err != nil {
			return err
		}
		m.Identifier = &servicev3.StreamMetricsMessage_Identifier{Node: s.deps.Node()}
	}
	// A service that does not read must not hold the flush for ever.
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	err := s.stream.Send(m)
	if errors.Is(err, io.EOF) {
		// The stream has ended; its status says why.
		if why := s.stream.RecvMsg(&servicev3.StreamMetricsResponse{}); why != nil && !errors.Is(why, io.EOF) {
			return why
		}
	}
	return err
}

func (s *sink) open() error {
	conn, err := s.deps.GRPC(s.service)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, h := range s.service.InitialMetadata {
		ctx = metadata.AppendToOutgoingContext(ctx, h.Name, h.Value)
	}
	stream, err := servicev3.NewMetricsServiceClient(conn).StreamMetrics(ctx)
	if err != nil {
		cancel()
		return err
	}
	s.stream, s.cancel = stream, cancel
	return nil
}

// batch collects the metric families of an interval.
type batch struct {
	cfg      *Config
	now      int64 // milliseconds
	families []*prom.MetricFamily
}

func (b *batch) add(base string, tags []stats.Tag, x *stats.Series) error {
	switch x.Kind() {
	case stats.CounterKind:
		n := x.Value()
		if b.cfg.Deltas {
			n = x.Delta()
		}
		b.metric(base, tags, x, prom.MetricType_COUNTER).Counter = &prom.Counter{Value: proto.Float64(float64(n))}
	case stats.GaugeKind:
		b.metric(base, tags, x, prom.MetricType_GAUGE).Gauge = &prom.Gauge{Value: proto.Float64(float64(x.Value()))}
	default:
		d := x.Histogram().Interval()
		if b.cfg.Summaries {
			b.metric(base, tags, x, prom.MetricType_SUMMARY).Summary = summary(&d)
		}
		if b.cfg.Histograms {
			b.metric(base, tags, x, prom.MetricType_HISTOGRAM).Histogram = histogram(&d, x.Bounds())
		}
	}
	return nil
}

// metric adds a metric to the family of its name and type.
func (b *batch) metric(base string, tags []stats.Tag, x *stats.Series, t prom.MetricType) *prom.Metric {
	m := &prom.Metric{TimestampMs: proto.Int64(b.now)}
	name := base
	if !b.cfg.Labels {
		name = string(x.Name())
	} else {
		for _, tag := range tags {
			m.Label = append(m.Label, &prom.LabelPair{Name: proto.String(tag.Name), Value: proto.String(tag.Value)})
		}
	}
	// Summaries and histograms of one name take turns.
	for i := len(b.families) - 1; i >= 0 && i >= len(b.families)-2; i-- {
		if f := b.families[i]; f.GetName() == name && f.GetType() == t {
			f.Metric = append(f.Metric, m)
			return m
		}
	}
	b.families = append(b.families, &prom.MetricFamily{Name: proto.String(name), Type: t.Enum(), Metric: []*prom.Metric{m}})
	return m
}

func summary(d *stats.Distribution) *prom.Summary {
	out := &prom.Summary{SampleCount: proto.Uint64(d.Count()), SampleSum: proto.Float64(d.Sum())}
	for i, v := range d.Quantiles(quantiles) {
		out.Quantile = append(out.Quantile, &prom.Quantile{Quantile: proto.Float64(quantiles[i]), Value: proto.Float64(v)})
	}
	return out
}

func histogram(d *stats.Distribution, bounds []float64) *prom.Histogram {
	out := &prom.Histogram{SampleCount: proto.Uint64(d.Count()), SampleSum: proto.Float64(d.Sum())}
	for i, n := range d.Cumulative(bounds) {
		out.Bucket = append(out.Bucket, &prom.Bucket{UpperBound: proto.Float64(bounds[i]), CumulativeCount: proto.Uint64(n)})
	}
	return out
}
