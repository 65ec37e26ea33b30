package tcpproxy

import (
	"context"
	"net"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// Cluster is what the proxy asks of an upstream cluster.
type Cluster interface {
	// Config is the cluster's current configuration.
	Config() *model.Cluster
	// WantsHash tells whether Dial looks at a hash.
	WantsHash() bool
	// TryDial picks a host and gives a connection to it that was made ahead, without waiting. Without such a connection it gives
	// neither lease nor error, and Dial with the same pc goes on.
	TryDial(pc *upstream.PickContext) (*Lease, error)
	// Dial picks a host and connects to it. Errors are *upstream.Error or wrap one. It calls conn.Waits before it waits.
	Dial(ctx context.Context, pc *upstream.PickContext) (*Lease, error)
	// AttemptsExceeded is told when a connection was given up after as many attempts as are allowed.
	AttemptsExceeded()
}

// Lease is an upstream connection.
type Lease struct {
	Conn net.Conn
	Host *upstream.Host
	Info codec.ConnInfo
	// Settled is to be called when the first work on the connection is done; nil for none. It does not wait.
	Settled func()
	// Close closes the connection and counts it out.
	Close func()
}

// FromCluster makes a cluster usable by the proxy; nil stays nil.
func FromCluster(c *cluster.Cluster) Cluster {
	if c == nil {
		return nil
	}
	return adapter{c}
}

type adapter struct{ *cluster.Cluster }

// TryDial implements Cluster.
func (a adapter) TryDial(pc *upstream.PickContext) (*Lease, error) {
	l, err := a.Cluster.TryDial(pc)
	if l == nil {
		return nil, err
	}
	return &Lease{Conn: l.Conn, Host: l.Host, Info: l.Info, Settled: l.Settled, Close: l.Close}, nil
}

// Dial implements Cluster.
func (a adapter) Dial(ctx context.Context, pc *upstream.PickContext) (*Lease, error) {
	if p := a.Config().Preconnect; p.PerHost > 1 || p.Predictive > 1 {
		conn.Waits(ctx) // for a connection that is being made ahead
	}
	l, err := a.Cluster.Dial(ctx, pc)
	if err != nil {
		return nil, err
	}
	return &Lease{Conn: l.Conn, Host: l.Host, Info: l.Info, Close: l.Close}, nil
}

// AttemptsExceeded implements Cluster.
func (a adapter) AttemptsExceeded() { a.Stats().CxConnectAttempts.Inc() }
