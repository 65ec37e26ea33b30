package opentelemetry

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/open_telemetry/v3"
	"github.com/google/go-cmp/cmp"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// collector is an OTLP server.
type collector struct {
	requests []*metricspb.MetricsData
	tokens   []string
	fail     error
}

func (c *collector) export(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &metricspb.MetricsData{}
	if err := decode(in); err != nil {
		return nil, err
	}
	md, _ := metadata.FromIncomingContext(ctx)
	c.tokens = md.Get("x-token")
	c.requests = append(c.requests, in)
	return &emptypb.Empty{}, c.fail
}

func serve(t *testing.T, c *collector) sinks.Deps {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.metrics.v1.MetricsService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: c.export}},
	}, c)
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
		server.Stop()
		<-done
	})
	return sinks.Deps{GRPC: func(model.GRPCService) (grpc.ClientConnInterface, error) { return conn, nil }}
}

// sample is a store whose second interval has ended.
func sample() *sinks.Flush {
	s := stats.NewStore(stats.WithBuckets(func(string) []float64 { return []float64{10, 100} }))
	for _, name := range []string{"a", "b"} {
		c := s.Root().Scope("cluster." + name)
		c.Counter("upstream_rq_total").Add(5)
		c.Gauge("upstream_cx_active").Set(2)
	}
	h := s.Root().Histogram("h", stats.Milliseconds)
	h.Record(5)
	s.LatchCounters()
	s.LatchHistograms()
	h.Record(50)
	h.Record(5000)
	s.Root().Scope("cluster.a").Counter("upstream_rq_total").Add(2)
	s.LatchCounters()
	s.LatchHistograms()
	return &sinks.Flush{Store: s, Start: time.Unix(1, 0), Last: time.Unix(2, 0), Now: time.Unix(3, 0)}
}

func parse(t *testing.T, text string) *metricspb.MetricsData {
	t.Helper()
	m := &metricspb.MetricsData{}
	if err := protojson.Unmarshal([]byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[`+text+`]}]}]}`), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestExport(t *testing.T) {
	const a = `"attributes":[{"key":"envoy.cluster_name","value":{"stringValue":"a"}}]`
	const b = `"attributes":[{"key":"envoy.cluster_name","value":{"stringValue":"b"}}]`
	tests := []struct {
		name string
		cfg  *sinkv3.SinkConfig
		want string
	}{
		{"defaults", &sinkv3.SinkConfig{}, `
			{"name":"cluster.upstream_cx_active","gauge":{"dataPoints":[{"timeUnixNano":"3000000000","asInt":"2",` + a + `},{"timeUnixNano":"3000000000","asInt":"2",` + b + `}]}},
			{"name":"cluster.upstream_rq_total","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[
				{"startTimeUnixNano":"1000000000","timeUnixNano":"3000000000","asInt":"7",` + a + `},
				{"startTimeUnixNano":"1000000000","timeUnixNano":"3000000000","asInt":"5",` + b + `}]}},
			{"name":"h","unit":"ms","histogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1000000000","timeUnixNano":"3000000000",
				"count":"3","sum":5055,"explicitBounds":[10,100],"bucketCounts":["1","1","1"]}]}}`},
		{"deltas, full names, no attributes, a prefix", &sinkv3.SinkConfig{
			ReportCountersAsDeltas: true, ReportHistogramsAsDeltas: true, Prefix: "p",
			EmitTagsAsAttributes: wrapperspb.Bool(false), UseTagExtractedName: wrapperspb.Bool(false),
		}, `
			{"name":"p.cluster.a.upstream_cx_active","gauge":{"dataPoints":[{"timeUnixNano":"3000000000","asInt":"2"}]}},
			{"name":"p.cluster.b.upstream_cx_active","gauge":{"dataPoints":[{"timeUnixNano":"3000000000","asInt":"2"}]}},
			{"name":"p.cluster.a.upstream_rq_total","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[
				{"startTimeUnixNano":"2000000000","timeUnixNano":"3000000000","asInt":"2"}]}},
			{"name":"p.h","unit":"ms","histogram":{"aggregationTemporality":1,"dataPoints":[{"startTimeUnixNano":"2000000000","timeUnixNano":"3000000000",
				"count":"2","sum":5050,"explicitBounds":[10,100],"bucketCounts":["0","1","1"]}]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &collector{}
			sink := decode(tt.cfg).Build(serve(t, c), model.GRPCService{InitialMetadata: []model.NameValue{{Name: "x-token", Value: "secret"}}})
			defer sink.Close()
			if err := sink.Flush(t.Context(), sample()); err != nil {
				t.Fatal(err)
			}
			if len(c.requests) != 1 || len(c.tokens) != 1 || c.tokens[0] != "secret" {
				t.Fatalf("%d requests, token %v", len(c.requests), c.tokens)
			}
			if d := cmp.Diff(parse(t, tt.want), c.requests[0], protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRequestsAreBounded(t *testing.T) {
	c := &collector{}
	sink := decode(&sinkv3.SinkConfig{MaxDataPointsPerRequest: 2}).Build(serve(t, c), model.GRPCService{})
	if err := sink.Flush(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	var points []int
	for _, r := range c.requests {
		n := 0
		for _, m := range r.ResourceMetrics[0].ScopeMetrics[0].Metrics {
			n += len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints())
		}
		points = append(points, n)
	}
	if d := cmp.Diff([]int{2, 2, 1}, points); d != "" {
		t.Error(d)
	}
}

func TestFailure(t *testing.T) {
	c := &collector{fail: status.Error(codes.ResourceExhausted, "too much")}
	sink := decode(&sinkv3.SinkConfig{}).Build(serve(t, c), model.GRPCService{})
	if err := sink.Flush(t.Context(), sample()); err == nil || !strings.Contains(err.Error(), "too much") {
		t.Errorf("got %v", err)
	}
}
