package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	xdslog "github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// farewell is how long clients have to end what goes on when the server ends.
	farewell = 2 * time.Second
	// maxMessage bounds a message of a client: the names of 100,000 resources take some megabytes.
	maxMessage = 64 << 20
	// keepaliveTime is how long a connection may be silent before the server asks whether the client is there, and
	// keepaliveTimeout how long it waits for the answer.
	keepaliveTime, keepaliveTimeout = 30 * time.Second, 20 * time.Second
	// minPing is how often clients may ask; gRPC's default of five minutes would end the connections of many.
	minPing = time.Second
)

// Serve answers clients on l, over gRPC and over HTTP/1 for those that poll, until ctx ends, then ends their streams and
// returns nil. It closes l. Servers on several listeners may run at once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	streams, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g := s.grpcServer(streams)
	f := newFront(l, s.opt.TLS)
	h := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: greeting, IdleTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c.RemoteAddr())
		},
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, 2)
	wg.Go(func() { failed <- g.Serve(f.grpc) })
	wg.Go(func() { failed <- h.Serve(f.http) })
	accepting, stop := context.WithCancel(ctx)
	defer stop()
	accepted := make(chan error, 1)
	wg.Go(func() { accepted <- f.run(accepting) })

	var err error
	select {
	case err = <-accepted:
	case err = <-failed:
	}
	if ctx.Err() != nil {
		err = nil
	}
	stop()
	end()
	s.farewell(ctx, g, h)
	if err != nil {
		return fmt.Errorf("serve xDS on %s: %w", l.Addr(), err)
	}
	return nil
}

// farewell lets what goes on end, for a while.
func (s *Server) farewell(ctx context.Context, g *grpc.Server, h *http.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	stop := context.AfterFunc(ctx, g.Stop)
	g.GracefulStop()
	stop()
	if h.Shutdown(ctx) != nil {
		_ = h.Close() // what is left is cut off
	}
}

// grpcServer has the services of all kinds; their streams end with ctx.
func (s *Server) grpcServer(ctx context.Context) *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
	)
	services{
		sotw:  sotw.NewServer(ctx, s.fleet, sotwHooks{newHooks(s.clients, false)}, sotw.WithOrderedADS(), sotw.WithLogger(xdslog.NewDefaultLogger())),
		delta: delta.NewServer(ctx, s.fleet, deltaHooks{newHooks(s.clients, true)}, delta.WithLogger(xdslog.NewDefaultLogger())),
		poll:  s.fetchOnce,
	}.register(g)
	statusv3.RegisterClientStatusDiscoveryServiceServer(g, clientStatus{server: s})
	return g
}
