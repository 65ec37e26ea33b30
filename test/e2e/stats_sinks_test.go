package e2e

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/metrics/v3"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-proxy/weir/test/harness"
)

// shipped are the lines and messages that a server of statistics got.
type shipped struct {
	mu    sync.Mutex
	lines []string
}

func (s *shipped) add(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, lines...)
}

// await waits for a line with these parts.
func (s *shipped) await(t *testing.T, parts ...string) {
	t.Helper()
	harness.Eventually(t, strings.Join(parts, " and "), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, line := range s.lines {
			all := true
			for _, p := range parts {
				all = all && strings.Contains(line, p)
			}
			if all {
				return true
			}
		}
		return false
	})
}

// datagrams serves statsd over UDP.
func datagrams(t *testing.T, host *harness.Host, addr string) *shipped {
	t.Helper()
	var pc net.PacketConn
	if err := host.Do(func() (err error) {
		pc, err = net.ListenPacket("udp", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s, done := &shipped{}, make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, _, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			s.add(strings.Split(string(buf[:n]), "\n")...)
		}
	}()
	t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	return s
}

// metricsServer serves a metrics service and an OpenTelemetry collector.
type metricsServer struct {
	servicev3.UnimplementedMetricsServiceServer
	families, points shipped
}

func (s *metricsServer) StreamMetrics(stream servicev3.MetricsService_StreamMetricsServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, f := range m.GetEnvoyMetrics() {
			s.families.add(f.String())
		}
	}
}

func (s *metricsServer) export(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &metricspb.MetricsData{}
	if err := decode(in); err != nil {
		return nil, err
	}
	for _, m := range in.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics() {
		s.points.add(m.String())
	}
	return &emptypb.Empty{}, nil
}

func serveMetrics(t *testing.T, host *harness.Host, addr string) *metricsServer {
	t.Helper()
	s, server, done := &metricsServer{}, grpc.NewServer(), make(chan struct{})
	servicev3.RegisterMetricsServiceServer(server, s)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.metrics.v1.MetricsService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: s.export}},
	}, s)
	ln := host.Listen(addr)
	go func() {
		defer close(done)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return s
}

const sinksYAML = `
stats_flush_interval: 0.2s
stats_sinks:
- name: envoy.stat_sinks.statsd
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, address: {socket_address: {address: 127.0.0.1, port_value: 8125}}}
- name: envoy.stat_sinks.statsd
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, tcp_cluster_name: statsd, prefix: over.tcp}
- name: envoy.stat_sinks.dog_statsd
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink
    address: {socket_address: {address: "::1", port_value: 8126, protocol: UDP}}
    prefix: dog
    max_bytes_per_datagram: 1400
- name: envoy.stat_sinks.metrics_service
  typed_config:
    "@type": type.googleapis.com/envoy.config.metrics.v3.MetricsServiceConfig
    transport_api_version: V3
    emit_tags_as_labels: true
    grpc_service: {envoy_grpc: {cluster_name: metrics}}
- name: envoy.stat_sinks.open_telemetry
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig
    prefix: otel
    grpc_service: {envoy_grpc: {cluster_name: metrics}}
- name: envoy.stat_sinks.hystrix
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.HystrixSink}
`

// Each sink ships what one request counts.
func TestStatsSinks(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	plain, dog := datagrams(t, host, "127.0.0.1:8125"), datagrams(t, host, "[::1]:8126")
	server := serveMetrics(t, host, "127.0.0.1:8127")
	stream := &shipped{}
	tcp := host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) {
		for lines := bufio.NewScanner(c); lines.Scan(); {
			stream.add(lines.Text())
		}
	})
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "web")))}}.YAML()},
		Clusters: []string{
			harness.Cluster("web", harness.To(backend.Addr)), harness.Cluster("statsd", harness.To(tcp.Addr)),
			harness.Cluster("metrics", harness.To(netip.MustParseAddrPort("127.0.0.1:8127")), harness.HTTP2()),
		},
		More: "node: {id: sinks, cluster: test}" + sinksYAML,
	}.YAML()})
	wantContains(t, "log", weir.Log(), "stats_sinks[5]", "envoy.stat_sinks.hystrix")
	wantOK(t, host.App().Curl("http://127.0.0.1:8080/"), "backend")

	plain.await(t, "envoy.cluster.web.upstream_rq_total:1|c")
	plain.await(t, "envoy.cluster.web.upstream_rq_time:", "|ms")
	plain.await(t, "envoy.server.live:1|g")
	stream.await(t, "over.tcp.cluster.web.upstream_rq_200:1|c")
	dog.await(t, "dog.cluster.upstream_rq:1|c|#envoy.response_code:200,envoy.cluster_name:web")
	server.families.await(t, `name:"cluster.upstream_rq_total"`, "COUNTER", `value:"web"`)
	server.points.await(t, `name:"otel.cluster.upstream_rq_total"`, `string_value:"web"`, "as_int:1")
	if status := weir.Stop(); status != 0 {
		t.Errorf("status %d", status)
	}
	if n := strings.Count(weir.Log(), "not shipped"); n > 0 {
		t.Errorf("flushes failed:\n%s", weir.Log())
	}
}

// With stats_flush_on_admin nothing is shipped until somebody reads the statistics.
func TestStatsFlushOnAdmin(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	plain := datagrams(t, host, "127.0.0.1:8125")
	weir := host.StartWeir(harness.WeirOptions{Config: `
stats_flush_on_admin: true
stats_sinks:
- name: envoy.stat_sinks.statsd
  typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.StatsdSink, address: {socket_address: {address: 127.0.0.1, port_value: 8125}}}
`})
	plain.mu.Lock()
	if len(plain.lines) > 0 {
		t.Errorf("shipped before anybody asked: %q", plain.lines)
	}
	plain.mu.Unlock()
	weir.Page("/stats")
	plain.await(t, "envoy.server.live:1|g")
}
