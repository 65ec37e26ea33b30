package cluster

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// leased gives the connection's place back when it is closed.
type leased struct {
	net.Conn
	lease *Lease
}

func (l *leased) Close() error {
	l.lease.Close()
	return nil
}

// TestDialForGRPC calls a gRPC server, which demands ALPN under TLS, through the cluster's own TLS.
func TestDialForGRPC(t *testing.T) {
	b := tlsBackend(t, true) // for its certificate
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: b.TLS.Certificates})))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	for _, tc := range []struct {
		name       string
		configured []string // ALPN of the transport socket
		offered    []string
		ok         bool
	}{
		{"offered by the caller", nil, []string{"h2"}, true},
		{"configured", []string{"h2"}, nil, true},
		{"configured and offered", []string{"h2"}, []string{"http/1.1"}, true},
		{"neither", nil, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHarness(t)
			cfg := static("xds", l.Addr().(*net.TCPAddr).AddrPort())
			cfg.HTTP.Protocol, cfg.TLS = model.UpstreamHTTP2, upstreamTLS(b, 1)
			cfg.TLS.ALPN = tc.configured
			h.Apply(snapshot(cfg))
			channel, err := grpc.NewClient("passthrough:///xds", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					lease, err := h.Get("xds").DialFor(ctx, &upstream.PickContext{}, tc.offered)
					if err != nil {
						return nil, err
					}
					return &leased{lease.Conn, lease}, nil
				}))
			if err != nil {
				t.Fatal(err)
			}
			_, err = grpc_health_v1.NewHealthClient(channel).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if tc.ok != (err == nil) {
				t.Errorf("call: %v", err)
			}
			if err := channel.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
