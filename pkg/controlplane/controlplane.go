// Package controlplane is a small xDS server: it serves the resources of a directory, or those that it is given, to
// every client alike. It exists for `weirctl xds serve`, for demonstrations and for tests.
//
// It owns the set of resources, its versions and the order in which a change of it is told. It must not know who its
// clients are or what they make of the resources. A Server may be used from any goroutine; one mutex orders changes of the
// set, another one the calls of Options.OnEvent.
package controlplane

import (
	"crypto/tls"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
)

// Options configure a Server.
type Options struct {
	// Log may be nil.
	Log *slog.Logger
	// OnEvent is told what clients do, one call at a time. It must not call the Server. It may be nil.
	OnEvent func(Event)
	// TLS makes the server speak TLS; nil is plain text.
	TLS *tls.Config
	// GroupBy gives clients the resources of the directory that bears the name of their group.
	GroupBy GroupBy
	// Check tells more of what is wrong with resources in files than their types do; it may be nil.
	Check Checker
}

// Server serves xDS v3: the aggregated service and those of single types, state of the world and delta, and polling.
// Until the first set of resources clients wait.
type Server struct {
	opt     Options
	clients *clients
	fleet   *fleet

	mu     sync.Mutex
	sets   map[string]*set // what is served by group; nil before the first time
	loader *loader         // nil before the first directory
	state  LoadState
}

// New returns a server without resources.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opt:     opt,
		clients: newClients(opt.OnEvent, opt.GroupBy.of),
		fleet:   newFleet(opt.GroupBy.of),
	}
}

// SetResources replaces the set that is served. Messages are of any type that xDS v3 discovers, each with a name of its
// own within its type, or an envoy.service.discovery.v3.Resource around one, for names and aliases that its content does
// not tell (LbEndpoint, VirtualHost). They must not be written afterwards. On error, which names all that is wrong, the
// set stays as it was. A resource whose content did not change keeps its version.
func (s *Server) SetResources(messages []proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := newSet(messages, s.sets[everyone])
	if err != nil {
		return err
	}
	s.serve(&tree{sets: map[string]*set{everyone: next}})
	return nil
}

// serve tells clients of a tree in the order that never leaves one with a reference to what it was not told of yet. Groups
// with errors stay as they are. It reports whether anything changed.
func (s *Server) serve(t *tree) (changed bool) {
	next := t.sets
	for group := range t.errs {
		if group == everyone {
			return false
		}
		if old := s.sets[group]; old != nil {
			next[group] = old
		}
	}
	if same(s.sets, next) {
		return false
	}
	s.fleet.commit(next)
	known := make(map[string]bool, len(s.state.Warnings))
	for _, w := range s.state.Warnings {
		known[w] = true
	}
	s.sets, s.state.Loaded = next, time.Now()
	s.state.Warnings = append(slices.Clone(t.warnings), warnings(next)...)
	for _, w := range s.state.Warnings {
		if !known[w] {
			s.opt.Log.Warn("resources that may not do what they should", "warning", w)
		}
	}
	return true
}

// warnings tell what is amiss with the sets of all groups, each once.
func warnings(sets map[string]*set) []string {
	var out []string
	for _, one := range sets {
		out = append(out, one.dangling()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// same tells whether all groups have the same resources.
func same(a, b map[string]*set) bool {
	return a != nil && maps.EqualFunc(a, b, func(x, y *set) bool { return maps.Equal(x.tables, y.tables) })
}

// Summary lists what is served to clients without a group of their own, a line for each type that has resources.
func (s *Server) Summary() []TypeSummary { return s.Groups()[everyone] }

// Groups lists what is served to each group; the group "" is everyone else.
func (s *Server) Groups() map[string][]TypeSummary {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string][]TypeSummary, len(s.sets))
	for group, one := range s.sets {
		out[group] = one.summary()
	}
	return out
}

// LoadState says how the last reading of a directory went.
func (s *Server) LoadState() LoadState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}
