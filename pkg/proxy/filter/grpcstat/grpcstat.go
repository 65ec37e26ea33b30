// Package grpcstat counts gRPC calls in the statistics of the cluster that they go to, as Envoy's gRPC filters do:
// cluster.<name>.<protocol>.<service>.<method>.{<status>,success,failure,total}.
//
// It owns which names there are. It must not know filters. A Counter is safe for concurrent use.
package grpcstat

import (
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
)

// Protocols that calls are counted under.
const (
	GRPC    = "grpc"
	GRPCWeb = "grpc-web"
)

// maxNames bounds how many methods have statistics of their own: clients choose the names.
const maxNames = 1000

// maxName bounds the length of a service and method in bytes.
const maxName = 256

// Counter counts the calls of one filter.
type Counter struct {
	protocol string

	mu    sync.Mutex
	known map[string]bool
}

// New returns a counter for a protocol, one of the constants.
func New(protocol string) *Counter { return &Counter{protocol: protocol, known: map[string]bool{}} }

// Call is one call under way. The zero value is not counted.
type Call struct {
	counter *Counter
	cluster filter.Cluster
	prefix  string
}

// Begin looks at the request of a stream, before anything of it was changed. clusters finds the one that it goes to.
func (c *Counter) Begin(s *filter.Stream, clusters filter.Clusters) Call {
	name := s.Host.Route(s).Cluster
	if name == "" {
		return Call{}
	}
	cluster := clusters.Cluster(name)
	if cluster == nil {
		return Call{}
	}
	return Call{c, cluster, c.prefix(s.Request.Path)}
}

// prefix is what statistics of a method begin with; methods beyond the limits, and what is none, share one.
func (c *Counter) prefix(path string) string {
	path, _, _ = strings.Cut(path, "?")
	service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !ok || !strings.HasPrefix(path, "/") || service == "" || method == "" || strings.Contains(method, "/") || len(path) > maxName {
		return c.protocol + "."
	}
	name := c.protocol + "." + service + "." + method + "."
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known[name] {
		if len(c.known) >= maxNames {
			return c.protocol + "."
		}
		c.known[name] = true
	}
	return name
}

// Charge counts the end of the call with its grpc-status; an empty one is not counted.
func (c Call) Charge(status string) {
	if c.counter == nil || status == "" {
		return
	}
	if len(status) > 2 || strings.Trim(status, "0123456789") != "" {
		status = "2" // UNKNOWN: a peer does not choose names of statistics
	}
	scope := c.cluster.Stats().Scope()
	outcome := "failure"
	if status == "0" {
		outcome = "success"
	}
	scope.Counter(c.prefix + status).Inc()
	scope.Counter(c.prefix + outcome).Inc()
	scope.Counter(c.prefix + "total").Inc()
}
