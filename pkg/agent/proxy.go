package agent

import (
	"context"
	"fmt"
	"net"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/hcm"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// newFilter makes the terminal filter of a filter chain.
func (a *Agent) newFilter(l *model.Listener, fc *model.FilterChain, f *model.NetworkFilter) (filter.Network, error) {
	switch cfg := f.Config.(type) {
	case *model.HTTPConnectionManager:
		return a.newHTTP(l, cfg)
	case *model.TCPProxy:
		return a.newTCPProxy(cfg)
	}
	return nil, fmt.Errorf("listener %s, filter chain %s: filter %s cannot end a chain", l.Name, fc.Name, f.Name)
}

// httpManager is a connection manager with the statistics scope that was made for it.
type httpManager struct {
	*hcm.Manager
	scope *stats.Scope
}

// Close implements io.Closer: the listener calls it after the last connection of the filter chain.
func (m *httpManager) Close() error {
	m.Manager.Close()
	m.scope.Close()
	return nil
}

func (a *Agent) newHTTP(l *model.Listener, cfg *model.HTTPConnectionManager) (filter.Network, error) {
	scope := a.stats.Root().Scope("listener." + listener.StatPrefix(l))
	m, err := hcm.New(cfg, hcm.Deps{
		Stats: a.stats.Root(), ListenerStats: scope, Log: a.logs.Logger("http"), Wheel: a.wheel,
		Routes: a.route, Clusters: hcm.Clusters(a.clusters), AccessLogs: a.access, Buffers: a.buffers,
		LocalAddr: a.localAddr, ServiceCluster: a.cfg.Static.Node.Cluster, ServiceNode: a.cfg.Static.Node.ID,
		Runtime: a.runtime.Number, BufferLimit: l.PerConnectionBufferLimit, HealthFailed: a.unwell.Load,
		DrainFailed: !l.DrainModifyOnly, FilterConfig: a.filterConfig,
	})
	if err != nil {
		scope.Close()
		return nil, err
	}
	return &httpManager{m, scope}, nil
}

// node is what control planes are told of this process.
func (a *Agent) node() *corev3.Node {
	return proto.Clone(a.cfg.Bootstrap.GetNode()).(*corev3.Node)
}

// channels are the gRPC channels that were made, by what they reach. They are shared by all streams to one service.
type channels struct {
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func (c *channels) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // it fails only when it is closed already
	}
}

// dialControlPlane gives the channel to a gRPC service.
func (a *Agent) dialControlPlane(s model.GRPCService) (grpc.ClientConnInterface, error) {
	key := fmt.Sprintf("%s %s %d", s.Cluster, s.Authority, s.MaxReceiveMessageLength)
	a.channels.mu.Lock()
	defer a.channels.mu.Unlock()
	if conn := a.channels.conns[key]; conn != nil {
		return conn, nil
	}
	conn, err := a.newChannel(s)
	if err != nil {
		return nil, err
	}
	if a.channels.conns == nil {
		a.channels.conns = map[string]*grpc.ClientConn{}
	}
	a.channels.conns[key] = conn
	return conn, nil
}

// newChannel makes a gRPC channel whose connections go through a cluster, with its TLS, balancing and statistics.
func (a *Agent) newChannel(s model.GRPCService) (*grpc.ClientConn, error) {
	authority := s.Authority
	if authority == "" {
		authority = s.Cluster
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the cluster's transport socket encrypts
		grpc.WithAuthority(authority),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return a.dialCluster(ctx, s.Cluster) }),
		grpc.WithDisableServiceConfig(),
	}
	if n := s.MaxReceiveMessageLength; n > 0 {
		opts = append(opts, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(int(n))))
	} else {
		// Envoy does not bound responses; a state-of-the-world response holds the whole mesh.
		opts = append(opts, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	}
	conn, err := grpc.NewClient("passthrough:///"+s.Cluster, opts...)
	if err != nil {
		return nil, fmt.Errorf("reach control plane %s: %w", s.Cluster, err)
	}
	return conn, nil
}

// dialCluster connects to a host of a cluster.
func (a *Agent) dialCluster(ctx context.Context, name string) (net.Conn, error) {
	c := a.clusters.Get(name)
	if c == nil {
		return nil, fmt.Errorf("unknown cluster %s", name)
	}
	lease, err := c.DialFor(ctx, &upstream.PickContext{}, []string{"h2"})
	if err != nil {
		return nil, err
	}
	return &leased{lease.Conn, lease.Close}, nil
}

// leased gives a connection's place in its cluster back when it is closed.
type leased struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (l *leased) Close() error {
	l.release()
	return nil
}
