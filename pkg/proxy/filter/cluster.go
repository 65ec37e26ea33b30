package filter

import (
	"context"
	"net"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/metrics"
)

// Clusters finds upstream clusters.
type Clusters interface {
	// Cluster returns nil when there is none of that name.
	Cluster(name string) Cluster
}

// Cluster is what a filter may do with an upstream cluster. Errors are *upstream.Error or wrap one.
type Cluster interface {
	// Config is the cluster's current configuration.
	Config() *model.Cluster
	// Stats are its statistics.
	Stats() *metrics.Cluster
	// WantsHash tells whether Pick looks at the request's hash: the balancer is a consistent one.
	WantsHash() bool
	// Pick chooses a host.
	Pick(pc *upstream.PickContext) (*upstream.Host, error)
	// Reuse opens an exchange on an idle or shared connection; nil when there is none, or when the circuit breaker of requests
	// is open, which Connect then says. Reuse and Connect count the request in the statistics of the cluster and the host, and
	// take its place among the concurrent requests, until the exchange is over.
	Reuse(h *upstream.Host, o *StreamOptions) codec.ClientStream
	// Connect opens an exchange on a new connection, or waits for one; ctx ends the wait.
	Connect(ctx context.Context, h *upstream.Host, o *StreamOptions) (codec.ClientStream, error)
	// ConnectTCP opens a TCP connection to a host, for what is not HTTP; the caller must close it. It counts like Connect.
	ConnectTCP(ctx context.Context, h *upstream.Host, o *StreamOptions) (*Lease, error)
	// DropOverload draws whether the control plane wants the request dropped, which it then counts; category is why.
	DropOverload() (category string, drop bool)
	// TryRetry takes a place among the concurrent retries; the error says that the circuit breaker is open.
	TryRetry(high bool) error
	// ReleaseRetry gives it back.
	ReleaseRetry(high bool)
}

// Lease is a TCP connection to an upstream host.
type Lease struct {
	Conn net.Conn
	Info codec.ConnInfo
	// Close closes the connection and counts it out. It may be called more than once, from any goroutine.
	Close func()
}

// StreamOptions say what an exchange needs of its connection.
type StreamOptions struct {
	// Version of the downstream request, for clusters that follow it.
	Version message.Version
	// HighPriority uses the circuit breakers of high priority.
	HighPriority bool
	// Authority is the request's host, for SNI and certificate checks that follow it.
	Authority string
	// Origin is from where the connection is made.
	Origin streaminfo.Origin
}
