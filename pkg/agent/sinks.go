package agent

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/sinks"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// sinkTimeout bounds a flush of the statistics sinks, and the last one of the process.
const (
	sinkTimeout = 5 * time.Second
	lastFlush   = time.Second
)

// newFlusher makes the statistics sinks of the bootstrap.
func (a *Agent) newFlusher() (*sinks.Flusher, error) {
	o := sinks.Options{
		Store: a.stats, Log: a.logs.Logger("stats_sinks"), Timeout: sinkTimeout, Start: a.start,
		Dropped: a.stats.Root().Counter("server.dropped_stat_flushes"),
	}
	deps := sinks.Deps{DialAddress: a.dialMarked, DialCluster: a.dialSink, GRPC: a.dialControlPlane, Node: a.node}
	for i, s := range a.cfg.Static.Sinks {
		builder, ok := s.Config.(sinks.Builder)
		if !ok {
			return nil, fmt.Errorf("stats_sinks[%d]: %s ships no statistics", i, s.TypeURL)
		}
		o.Names = append(o.Names, s.Name)
		o.Sinks = append(o.Sinks, builder.Build(deps, s.Service))
	}
	return sinks.New(o), nil
}

// dialMarked connects without the kernel capturing the connection.
func (a *Agent) dialMarked(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{ControlContext: a.markSocket}
	return d.DialContext(ctx, network, address)
}

// dialSink connects to a host of a cluster over its transport socket.
func (a *Agent) dialSink(ctx context.Context, name string) (net.Conn, error) {
	c := a.clusters.Get(name)
	if c == nil {
		return nil, fmt.Errorf("unknown cluster %s", name)
	}
	lease, err := c.DialFor(ctx, &upstream.PickContext{}, nil)
	if err != nil {
		return nil, err
	}
	return &leased{lease.Conn, lease.Close}, nil
}
