package metricsservice

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	"github.com/google/go-cmp/cmp"
	prom "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/test/await"
)

// service keeps what it is sent, and ends a stream with what is in refuse.
type service struct {
	servicev3.UnimplementedMetricsServiceServer
	messages chan *servicev3.StreamMetricsMessage
	refuse   chan error
}

func (s *service) StreamMetrics(stream servicev3.MetricsService_StreamMetricsServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case err := <-s.refuse:
			return err
		case s.messages <- m:
		}
	}
}

func (s *service) next(t *testing.T) *servicev3.StreamMetricsMessage {
	t.Helper()
	select {
	case m := <-s.messages:
		return m
	case <-time.After(await.Patience):
		t.Fatal("no message came")
		return nil
	}
}

func serve(t *testing.T) (*service, sinks.Deps) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{messages: make(chan *servicev3.StreamMetricsMessage), refuse: make(chan error)}
	server := grpc.NewServer()
	servicev3.RegisterMetricsServiceServer(server, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	conn, err := grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		close(s.refuse)
		server.Stop()
		<-done
	})
	return s, sinks.Deps{
		GRPC: func(model.GRPCService) (grpc.ClientConnInterface, error) { return conn, nil },
		Node: func() *corev3.Node { return &corev3.Node{Id: "n"} },
	}
}

func sample() *sinks.Flush {
	s := stats.NewStore(stats.WithBuckets(func(string) []float64 { return []float64{10, 100} }))
	c := s.Root().Scope("cluster.a").Counter("upstream_rq_200")
	c.Add(5)
	s.Root().Scope("cluster.b").Counter("upstream_rq_200").Inc()
	s.Root().Gauge("g").Set(4)
	s.LatchCounters()
	c.Add(2)
	s.Root().Histogram("h", stats.Unspecified).Record(50)
	s.LatchCounters()
	s.LatchHistograms()
	return &sinks.Flush{Store: s, Now: time.UnixMilli(1500)}
}

// lines prints families in short.
func lines(m *servicev3.StreamMetricsMessage) (out []string) {
	for _, f := range m.GetEnvoyMetrics() {
		for _, x := range f.GetMetric() {
			var labels []string
			for _, l := range x.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			value := ""
			switch f.GetType() {
			case prom.MetricType_COUNTER:
				value = x.GetCounter().String()
			case prom.MetricType_GAUGE:
				value = x.GetGauge().String()
			case prom.MetricType_HISTOGRAM:
				value = x.GetHistogram().String()
			default:
				value = x.GetSummary().GetQuantile()[2].String()
			}
			value = strings.Join(strings.Fields(value), " ")
			out = append(out, f.GetType().String()+" "+f.GetName()+"{"+strings.Join(labels, ",")+"} "+value)
		}
	}
	return out
}

func TestStream(t *testing.T) {
	const histogram = "HISTOGRAM h{} sample_count:1 sample_sum:50 bucket:{cumulative_count:0 upper_bound:10} bucket:{cumulative_count:1 upper_bound:100}"
	tests := []struct {
		name string
		cfg  *metricsv3.MetricsServiceConfig
		want []string
	}{
		{"defaults", &metricsv3.MetricsServiceConfig{}, []string{
			"COUNTER cluster.a.upstream_rq_200{} value:7", "COUNTER cluster.b.upstream_rq_200{} value:1", "GAUGE g{} value:4",
			"SUMMARY h{} quantile:0.5 value:50.5", histogram,
		}},
		{"deltas and labels", &metricsv3.MetricsServiceConfig{
			ReportCountersAsDeltas: wrapperspb.Bool(true), EmitTagsAsLabels: true, HistogramEmitMode: metricsv3.HistogramEmitMode_HISTOGRAM,
		}, []string{
			"COUNTER cluster.upstream_rq{envoy.response_code=200,envoy.cluster_name=a} value:2",
			"COUNTER cluster.upstream_rq{envoy.response_code=200,envoy.cluster_name=b} value:0", "GAUGE g{} value:4", histogram,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, deps := serve(t)
			cfg, err := decode(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			sink := cfg.Build(deps, model.GRPCService{})
			defer sink.Close()
			for i := range 2 {
				if err := sink.Flush(t.Context(), sample()); err != nil {
					t.Fatal(err)
				}
				m := s.next(t)
				if first := m.GetIdentifier().GetNode().GetId() == "n"; first != (i == 0) {
					t.Errorf("message %d has the identifier %v", i, m.GetIdentifier())
				}
				if d := cmp.Diff(tt.want, lines(m)); d != "" {
					t.Error(d)
				}
				if at := m.GetEnvoyMetrics()[0].GetMetric()[0].GetTimestampMs(); at != 1500 {
					t.Errorf("timestamp %d", at)
				}
			}
		})
	}
}

func TestStreamComesBack(t *testing.T) {
	s, deps := serve(t)
	cfg, err := decode(&metricsv3.MetricsServiceConfig{BatchSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	sink := cfg.Build(deps, model.GRPCService{})
	defer sink.Close()
	if err := sink.Flush(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 2, 1} {
		if n := len(s.next(t).GetEnvoyMetrics()); n != want {
			t.Errorf("a batch of %d, want %d", n, want)
		}
	}
	if err := sink.Flush(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	s.refuse <- status.Error(codes.Unavailable, "going away")
	// What is sent before the end of the stream is known is lost; from then on nothing is.
	var m *servicev3.StreamMetricsMessage
	for deadline := time.Now().Add(await.Patience); m == nil && time.Now().Before(deadline); {
		if err := sink.Flush(t.Context(), sample()); err != nil {
			t.Fatal(err)
		}
		select {
		case m = <-s.messages:
		default:
		}
	}
	if m == nil {
		m = s.next(t)
	}
	if m.GetIdentifier() == nil {
		t.Error("a new stream does not say who we are")
	}
}

// TestHangingService sends to a service that reads nothing, until flow control stops it.
func TestHangingService(t *testing.T) {
	_, deps := serve(t)
	cfg, err := decode(&metricsv3.MetricsServiceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	sink := cfg.Build(deps, model.GRPCService{})
	defer sink.Close()
	flush := sample()
	for i := range 1000 {
		flush.Store.Root().Counter(strings.Repeat("n", i+1)).Inc()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for err == nil && ctx.Err() == nil {
		err = sink.Flush(ctx, flush)
	}
	if err == nil {
		t.Error("a flush to a service that does not read ended well")
	}
}

func TestConfigErrors(t *testing.T) {
	if _, err := decode(&metricsv3.MetricsServiceConfig{TransportApiVersion: corev3.ApiVersion_V2}); err == nil {
		t.Error("V2 is accepted")
	}
}
