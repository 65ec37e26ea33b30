package agent

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/health"
)

// grpcHealth asks one host of the gRPC health checking protocol.
type grpcHealth struct{ conn *grpc.ClientConn }

// newGRPCHealth implements health.NewGRPC.
func newGRPCHealth(dial func(context.Context) (net.Conn, error), authority string) (health.GRPCClient, error) {
	conn, err := grpc.NewClient("passthrough:///host",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // dial encrypts where the cluster does
		grpc.WithAuthority(authority), grpc.WithUserAgent("Envoy/HC"), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
	)
	if err != nil {
		return nil, fmt.Errorf("make client of gRPC health checks: %w", err)
	}
	return &grpcHealth{conn}, nil
}

// Check implements health.GRPCClient.
func (g *grpcHealth) Check(ctx context.Context, service string, headers []model.HealthCheckHeader) (serving, reached bool, err error) {
	for _, h := range headers {
		ctx = metadata.AppendToOutgoingContext(ctx, h.Name, h.Value)
	}
	resp, err := healthpb.NewHealthClient(g.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	switch status.Code(err) {
	case codes.OK:
		return resp.GetStatus() == healthpb.HealthCheckResponse_SERVING, true, nil
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return false, false, err
	}
	return false, true, err
}

// Close implements io.Closer.
func (g *grpcHealth) Close() error { return g.conn.Close() }
