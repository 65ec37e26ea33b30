package e2e

import (
	"bufio"
	"context"
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	prom "github.com/prometheus/client_model/go"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-proxy/weir/test/harness"
)

// collector serves a metrics service and an OpenTelemetry collector, and adds up what they are told of one cluster.
type collector struct {
	servicev3.UnimplementedMetricsServiceServer

	mu sync.Mutex
	// streams are those of the metrics service, named those that began with who we are.
	streams, named int
	// told are the sums of the values of each kind, and last the last values.
	told, last map[string]float64
}

func newCollector() *collector {
	return &collector{told: map[string]float64{}, last: map[string]float64{}}
}

func (c *collector) note(name string, value float64) {
	c.told[name] += value
	c.last[name] = value
}

// values gives a copy of the sums of what was told, or of what was told last.
func (c *collector) values(deltas bool) map[string]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if deltas {
		return maps.Clone(c.told)
	}
	return maps.Clone(c.last)
}

// StreamMetrics implements the metrics service.
func (c *collector) StreamMetrics(stream servicev3.MetricsService_StreamMetricsServer) error {
	c.mu.Lock()
	c.streams++
	c.mu.Unlock()
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		c.mu.Lock()
		if m.GetIdentifier().GetNode().GetId() == "sinks" {
			c.named++
		}
		for _, f := range m.GetEnvoyMetrics() {
			for _, x := range f.GetMetric() {
				c.noteFamily(f, x)
			}
		}
		c.mu.Unlock()
	}
}

func (c *collector) noteFamily(f *prom.MetricFamily, x *prom.Metric) {
	name := "metrics_service " + f.GetName()
	switch f.GetType() {
	case prom.MetricType_COUNTER:
		c.note(name, x.GetCounter().GetValue())
	case prom.MetricType_GAUGE:
		c.note(name, x.GetGauge().GetValue())
	case prom.MetricType_SUMMARY:
		c.note(name+" summary", float64(x.GetSummary().GetSampleCount()))
	case prom.MetricType_HISTOGRAM:
		c.note(name, float64(x.GetHistogram().GetSampleCount()))
	}
}

// export implements the collector's only method.
func (c *collector) export(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &metricspb.MetricsData{}
	if err := decode(in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range in.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		name := "opentelemetry " + m.GetName()
		for _, p := range m.GetSum().GetDataPoints() {
			c.note(name+" "+m.GetSum().GetAggregationTemporality().String(), float64(p.GetAsInt()))
		}
		for _, p := range m.GetHistogram().GetDataPoints() {
			c.note(name+" "+m.GetHistogram().GetAggregationTemporality().String(), float64(p.GetCount()))
		}
	}
	return &emptypb.Empty{}, nil
}

// serve serves until the returned function is called.
func (c *collector) serve(t *testing.T, host *harness.Host, addr string) (stop func()) {
	t.Helper()
	server, done := grpc.NewServer(), make(chan struct{})
	servicev3.RegisterMetricsServiceServer(server, c)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.metrics.v1.MetricsService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: c.export}},
	}, c)
	ln := host.Listen(addr)
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	stop = sync.OnceFunc(func() {
		server.Stop()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// statsdServer serves statsd over TCP until the returned function is called.
func statsdServer(t *testing.T, host *harness.Host, addr string, to *shipped) (stop func()) {
	t.Helper()
	ln := host.Listen(addr)
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				for lines := bufio.NewScanner(c); lines.Scan(); {
					to.add(lines.Text())
				}
			})
		}
	})
	stop = sync.OnceFunc(func() {
		_ = ln.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	t.Cleanup(stop)
	return stop
}

const awaySinksYAML = `
stats_flush_interval: 0.1s
stats_config: {stats_matcher: {inclusion_list: {patterns: [{prefix: cluster.web.upstream_rq}]}}}
stats_sinks:
- name: envoy.stat_sinks.statsd
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, tcp_cluster_name: statsd}
- name: envoy.stat_sinks.metrics_service
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig
    transport_api_version: V3
    report_counters_as_deltas: DELTAS
    grpc_service: {envoy_grpc: {cluster_name: metrics}}
- name: envoy.stat_sinks.open_telemetry
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig
    report_counters_as_deltas: DELTAS
    report_histograms_as_deltas: DELTAS
    use_tag_extracted_name: false
    grpc_service: {envoy_grpc: {cluster_name: metrics}}
`

// Servers of statistics that are not there yet, go away and come back get what is counted while they are there, each count once.
// Requests do not suffer meanwhile.
func TestSinksWhoseServersComeAndGo(t *testing.T) {
	t.Parallel()
	for _, deltas := range []string{"true", "false"} {
		t.Run("deltas "+deltas, func(t *testing.T) {
			t.Parallel()
			sinksComeAndGo(t, deltas == "true")
		})
	}
}

func sinksComeAndGo(t *testing.T, deltas bool) {
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	yaml := strings.ReplaceAll(awaySinksYAML, "DELTAS", map[bool]string{true: "true", false: "false"}[deltas])
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "web")))}}.YAML()},
		Clusters: []string{
			harness.Cluster("web", harness.To(backend.Addr)), harness.Cluster("statsd", harness.To(netip.MustParseAddrPort("127.0.0.1:8125"))),
			harness.Cluster("metrics", harness.To(netip.MustParseAddrPort("127.0.0.1:8127")), harness.HTTP2()),
		},
		More: "node: {id: sinks, cluster: test}" + yaml,
	}.YAML()})
	request := func(n int) {
		for range n {
			wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "backend")
		}
	}
	request(2)
	harness.Eventually(t, "weir to complain", func() bool { return strings.Contains(weir.Log(), "statistics are not shipped") })
	for round := 1; round <= 2; round++ {
		lines, server := &shipped{}, newCollector()
		stopLines := statsdServer(t, host, "127.0.0.1:8125", lines)
		stop := server.serve(t, host, "127.0.0.1:8127")
		all := sinkCounters(deltas)
		harness.Eventually(t, "all servers to get something", func() bool {
			got := server.values(deltas)
			_, metrics := got[all[0]]
			_, points := got[all[2]] // deltas of nothing are no points, histograms always are
			return lines.sum("envoy.cluster.web.upstream_rq_total") >= 0 && metrics && points
		})
		settled := weir.Stat("cluster.web.upstream_rq_total")
		before, linesBefore := server.values(deltas), lines.sum("envoy.cluster.web.upstream_rq_total")
		request(3)
		harness.Eventually(t, "all servers to get what is counted", func() bool {
			got := server.values(deltas)
			for _, name := range all {
				if want := before[name] + 3; got[name] != want {
					return false
				}
			}
			return lines.sum("envoy.cluster.web.upstream_rq_total") == linesBefore+3
		})
		if !deltas && int(server.values(false)[all[0]]) != settled+3 {
			t.Errorf("round %d: told %v, want %d", round, server.values(false)[all[0]], settled+3)
		}
		stopLines()
		stop()
		server.mu.Lock()
		if server.streams == 0 || server.streams != server.named {
			t.Errorf("round %d: %d streams, %d of which say who we are", round, server.streams, server.named)
		}
		server.mu.Unlock()
		request(1) // while they are away
	}
	if status := weir.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// sinkCounters are the names under which a collector notes what each request counts one of.
func sinkCounters(deltas bool) []string {
	temporality := "AGGREGATION_TEMPORALITY_CUMULATIVE"
	if deltas {
		temporality = "AGGREGATION_TEMPORALITY_DELTA"
	}
	return []string{
		"metrics_service cluster.web.upstream_rq_total", "opentelemetry cluster.web.upstream_rq_total " + temporality,
		"opentelemetry cluster.web.upstream_rq_time " + temporality,
	}
}

// sum adds up the values of a counter, -1 when there is none yet.
func (s *shipped) sum(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := -1
	for _, line := range s.lines {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(rest, "|c"))
			total = max(total, 0) + n
		}
	}
	return total
}
