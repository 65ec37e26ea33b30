package e2e

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/test/harness"
)

// gRPC lives on trailers, streams in both directions and resets. The server is grpc-go's health service.
func TestGRPC(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	service, backend := healthBackend(t, host, "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(
			harness.RouteTo("/grpc.health.v1.Health", "backend"),
			harness.RouteTo("/refused", "refusing"),
		))}}.YAML()},
		Clusters: []string{
			harness.Cluster("backend", harness.To(backend), harness.HTTP2()),
			harness.Cluster("refusing", harness.To(host.RefusingAddr("127.0.0.1")), harness.HTTP2()),
		},
	}.YAML()})
	conn, err := grpc.NewClient("passthrough:///127.0.0.1:8080", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return host.Dial(ctx, "tcp", addr) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client := grpc_health_v1.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()

	if got, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("unary: %v, %v", got, err)
	}
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "nowhere"}); status.Code(err) != codes.NotFound {
		t.Errorf("status in trailers: %v", err)
	}
	if err := conn.Invoke(ctx, "/refused/Method", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a local reply: %v", err)
	}
	if err := conn.Invoke(ctx, "/unknown/Method", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("no route: %v", err)
	}
	checkWatch(t, ctx, client, service)
	weir.AwaitStat("cluster.backend.upstream_rq_active", func(n int) bool { return n == 0 })
	weir.AwaitStat("http.ingress.downstream_rq_active", func(n int) bool { return n == 0 })
	if n := weir.Stat("cluster.backend.upstream_cx_http2_total"); n != 1 {
		t.Errorf("%d HTTP/2 connections upstream, want 1", n)
	}
}

// checkWatch follows a stream of responses, and then cancels it.
func checkWatch(t *testing.T, ctx context.Context, client grpc_health_v1.HealthClient, service *health.Server) {
	t.Helper()
	watching, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	stream, err := client.Watch(watching, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := grpc_health_v1.HealthCheckResponse_SERVING
	for range 5 {
		got, err := stream.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("stream: %v, %v; want %v", got, err, want)
		}
		want = 3 - want // the other of SERVING and NOT_SERVING
		service.SetServingStatus("", want)
	}
	stop()
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Canceled {
		t.Errorf("after cancel: %v", err)
	}
}
