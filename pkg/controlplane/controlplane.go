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
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	xdslog "github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
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

// Server serves xDS v3: the aggregated service and those of single types, state of the world and delta. Until the first
// set of resources clients wait.
type Server struct {
	opt    Options
	events *events
	cache  cache.SnapshotCache

	mu  sync.Mutex
	set *set // what is served; nil before the first one
}

// everyone is the one node that all clients are taken for.
type everyone struct{}

// ID implements cache.NodeHash.
func (everyone) ID(*corev3.Node) string { return "*" }

// New returns a server without resources.
func New(opt Options) *Server {
	return &Server{
		opt:    opt,
		events: newEvents(opt.OnEvent),
		// The cache's own ordering for ADS holds answers back until a client has asked for everything there is.
		cache: cache.NewSnapshotCache(false, everyone{}, xdslog.NewDefaultLogger()),
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
		sotw:  sotw.NewServer(streams, s.cache, sotwHooks{hooks}, sotw.WithOrderedADS(), sotw.WithLogger(xdslog.NewDefaultLogger())),
		delta: delta.NewServer(streams, s.cache, deltaHooks{hooks}, delta.WithLogger(xdslog.NewDefaultLogger())),
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

// SetResources replaces the set that is served. Messages are Listener, RouteConfiguration, Cluster, ClusterLoadAssignment,
// Secret and TypedExtensionConfig, each with a name of its own within its type; they must not be written afterwards. On error, which names all
// that is wrong, the set stays as it was. A resource whose content did not change keeps its version.
func (s *Server) SetResources(messages []proto.Message) error {
	next, err := newSet(messages)
	if err != nil {
		return err
	}
	return s.serve(next)
}

// serve tells clients of next in the order that never leaves one with a reference to what it was not told of yet: what
// is new before what refers to it, what is gone after it.
func (s *Server) serve(next *set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stage := range stages(s.set, next) {
		snapshot, err := stage.snapshot()
		if err != nil {
			return err
		}
		if err := s.cache.SetSnapshot(context.Background(), everyone{}.ID(nil), snapshot); err != nil {
			return fmt.Errorf("serve resources: %w", err)
		}
	}
	s.set = next
	for _, w := range next.dangling() {
		s.opt.Log.Warn("a resource refers to one that is not served", "reference", w)
	}
	return nil
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
