package hcm

import (
	"context"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/codec"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/cluster"
)

// Clusters lets filters use the clusters of a manager.
func Clusters(m *cluster.Manager) filter.Clusters { return clusters{m} }

type clusters struct{ m *cluster.Manager }

// Cluster implements filter.Clusters.
func (c clusters) Cluster(name string) filter.Cluster {
	if x := c.m.Get(name); x != nil {
		return view{x}
	}
	return nil
}

// view is a cluster as filters see it.
type view struct{ *cluster.Cluster }

var _ filter.Cluster = view{}

// ConnectTCP implements filter.Cluster.
func (v view) ConnectTCP(ctx context.Context, h *upstream.Host, o *filter.StreamOptions) (*filter.Lease, error) {
	l, err := v.Cluster.DialHost(ctx, h, &cluster.StreamOptions{SNI: router.WithoutPort(o.Authority), HighPriority: o.HighPriority, Origin: o.Origin})
	if err != nil {
		return nil, err
	}
	return &filter.Lease{Conn: l.Conn, Info: l.Info, Close: l.Close}, nil
}

// Reuse implements filter.Cluster.
func (v view) Reuse(h *upstream.Host, o *filter.StreamOptions) codec.ClientStream {
	opt := cluster.StreamOptions{SNI: router.WithoutPort(o.Authority), HighPriority: o.HighPriority, Origin: o.Origin}
	return v.Cluster.Reuse(h, o.Version, &opt)
}

// Connect implements filter.Cluster.
func (v view) Connect(ctx context.Context, h *upstream.Host, o *filter.StreamOptions) (codec.ClientStream, error) {
	opt := cluster.StreamOptions{SNI: router.WithoutPort(o.Authority), HighPriority: o.HighPriority, Origin: o.Origin}
	return v.Cluster.Connect(ctx, h, o.Version, &opt)
}
