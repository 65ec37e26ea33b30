// Package controlplane is a small xDS server: it serves the resources of a directory, or those that it is given, to
// every client alike. It exists for `weirctl xds serve`, for demonstrations and for tests.
//
// It owns the set of resources, its versions and the order in which a change of it is told. It must not know who its
// clients are or what they make of the resources. A Server may be used from any goroutine; one mutex orders changes of the
// set, another one the calls of Options.OnEvent.
package controlplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	xdslog "github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/rest/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// Options configure a Server.
type Options struct {
	Log *slog.Logger
	// OnEvent is told what clients do, one call at a time. It must not call the Server. It may be nil.
	OnEvent func(Event)
	// TLS makes the server speak TLS; nil is plain text.
	TLS *tls.Config
}

// Server serves xDS v3: the aggregated service and those of single types, state of the world and delta, and polling.
// Until the first set of resources clients wait.
type Server struct {
	opt    Options
	events *events
	fleet  *fleet

	mu  sync.Mutex
	set *set // what is served; nil before the first one
}

// New returns a server without resources.
func New(opt Options) *Server {
	return &Server{
		opt:    opt,
		events: newEvents(opt.OnEvent),
		fleet:  newFleet(func(*corev3.Node) string { return everyone }),
	}
}

// Serve answers clients on l until ctx ends, then ends their streams and returns nil. It closes l. Servers on several
// listeners may run at once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var options []grpc.ServerOption
	if s.opt.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.opt.TLS)))
	}
	g := grpc.NewServer(options...)
	streams, end := context.WithCancel(ctx)
	defer end()
	hooks := s.events.hooks()
	services{
		sotw:  sotw.NewServer(streams, s.fleet, sotwHooks{hooks}, sotw.WithOrderedADS(), sotw.WithLogger(xdslog.NewDefaultLogger())),
		delta: delta.NewServer(streams, s.fleet, deltaHooks{hooks}, delta.WithLogger(xdslog.NewDefaultLogger())),
		rest:  rest.NewServer(s.fleet, nil),
	}.register(g)

	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case <-ctx.Done():
		g.Stop() // waits for the streams
		<-served
		return nil
	case err := <-served:
		g.Stop()
		return fmt.Errorf("serve xDS on %s: %w", l.Addr(), err)
	}
}

// SetResources replaces the set that is served. Messages are of any type that xDS v3 discovers, each with a name of its
// own within its type, or an envoy.service.discovery.v3.Resource around one, for names and aliases that its content does
// not tell (LbEndpoint, VirtualHost). They must not be written afterwards. On error, which names all that is wrong, the
// set stays as it was. A resource whose content did not change keeps its version.
func (s *Server) SetResources(messages []proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := newSet(messages, s.set)
	if err != nil {
		return err
	}
	s.serve(next)
	return nil
}

// serve tells clients of next in the order that never leaves one with a reference to what it was not told of yet.
func (s *Server) serve(next *set) {
	s.fleet.commit(map[string]*set{everyone: next})
	s.set = next
	for _, w := range next.dangling() {
		s.opt.Log.Warn("a resource refers to one that is not served", "reference", w)
	}
}

// Summary lists what is served, a line for each type that has resources.
func (s *Server) Summary() []TypeSummary {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		return nil
	}
	return s.set.summary()
}
