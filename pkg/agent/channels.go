package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Pings on channels to control planes for which none are configured: rare enough for gRPC's own servers, which end
// connections that ping more often than every five minutes, and enough to notice a peer that is gone without a word.
const (
	defaultPing        = 6 * time.Minute
	defaultPingTimeout = 20 * time.Second
)

// window is how much a control plane may send ahead, in bytes: enough for 40 MB a second over a tenth of a second. Left alone gRPC
// measures how much would do, with a ping and its answer for each message that comes.
const window = 4 << 20

// channels are what reaches control planes: gRPC channels and HTTP transports, by what they reach.
type channels struct {
	agent *Agent

	mu sync.Mutex
	// shared are the gRPC channels in use; the last stream that ends closes its channel, so that the next one connects at
	// once instead of after the channel's own back-off.
	shared map[string]*sharedChannel
	rest   map[string]*http.Transport
}

type sharedChannel struct {
	conn *grpc.ClientConn
	uses int
}

func newChannels(a *Agent) *channels {
	return &channels{agent: a, shared: map[string]*sharedChannel{}, rest: map[string]*http.Transport{}}
}

// close ends what is left; streams are over by then.
func (c *channels) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.shared {
		_ = s.conn.Close() // it fails only when it is closed already
		delete(c.shared, key)
	}
	for _, t := range c.rest {
		t.CloseIdleConnections()
	}
}

// dialControlPlane gives the channel to a gRPC service.
func (a *Agent) dialControlPlane(s model.GRPCService) (grpc.ClientConnInterface, error) {
	if s.Cluster != "" && a.clusters.Get(s.Cluster) == nil {
		return nil, fmt.Errorf("unknown cluster %s", s.Cluster)
	}
	c := &channel{owner: a.channels, service: s, key: fmt.Sprintf("%#v", s)}
	if s.Google.StatPrefix != "" {
		c.stats = a.stats.Root().Scope("grpc." + s.Google.StatPrefix)
	}
	return c, nil
}

// channel makes streams to one service.
type channel struct {
	owner   *channels
	service model.GRPCService
	key     string
	// stats are those of google_grpc; nil otherwise.
	stats *stats.Scope
}

var _ grpc.ClientConnInterface = (*channel)(nil)

// Invoke implements grpc.ClientConnInterface.
func (c *channel) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, release, err := c.use()
	if err != nil {
		return err
	}
	defer release()
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, release, err := c.use()
	if err != nil {
		return nil, err
	}
	s, err := conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		release()
		return nil, err
	}
	context.AfterFunc(s.Context(), release) // gRPC ends the context with the stream
	return s, nil
}

// use takes part in the service's connection until release.
func (c *channel) use() (conn *grpc.ClientConn, release func(), err error) {
	o := c.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.shared[c.key]
	if s == nil {
		conn, err := c.connect()
		if err != nil {
			return nil, nil, fmt.Errorf("reach %s: %w", c.service.Name(), err)
		}
		s = &sharedChannel{conn: conn}
		o.shared[c.key] = s
	}
	s.uses++
	return s.conn, sync.OnceFunc(func() { o.release(c.key, s) }), nil
}

func (c *channels) release(key string, s *sharedChannel) {
	c.mu.Lock()
	s.uses--
	last := s.uses == 0 && c.shared[key] == s
	if last {
		delete(c.shared, key)
	}
	c.mu.Unlock()
	if last {
		_ = s.conn.Close() // it fails only when it is closed already
	}
}

func (c *channel) connect() (*grpc.ClientConn, error) {
	// Envoy does not bound responses either; a state-of-the-world response holds the whole mesh.
	limit := math.MaxInt32
	if n := c.service.MaxReceiveMessageLength; n > 0 {
		limit = int(min(n, math.MaxInt32))
	}
	opts := []grpc.DialOption{
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit)),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window),
	}
	if c.stats != nil {
		opts = append(opts, grpc.WithStatsHandler(&streamStats{scope: c.stats}))
	}
	if c.service.Cluster != "" {
		return c.owner.agent.clusterChannel(&c.service, opts)
	}
	return c.owner.agent.googleChannel(&c.service, opts)
}

// clusterChannel makes a channel whose connections go through a cluster, with its TLS, balancing and statistics.
func (a *Agent) clusterChannel(s *model.GRPCService, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	authority := s.Authority
	if authority == "" {
		authority = s.Cluster
	}
	ping := keepalive.ClientParameters{Time: defaultPing, Timeout: defaultPingTimeout}
	if c := a.clusters.Get(s.Cluster); c != nil && c.Config().HTTP.HTTP2.KeepaliveInterval > 0 {
		// gRPC sends a ping every ten seconds at most.
		ping.Time = c.Config().HTTP.HTTP2.KeepaliveInterval
		ping.Timeout = c.Config().HTTP.HTTP2.KeepaliveTimeout
	}
	return grpc.NewClient("passthrough:///"+s.Cluster, append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the cluster's transport socket encrypts
		grpc.WithAuthority(authority),
		grpc.WithKeepaliveParams(ping),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return a.dialCluster(ctx, s.Cluster, "h2") }),
	)...)
}

// googleChannel makes a channel that resolves and connects by itself (google_grpc).
func (a *Agent) googleChannel(s *model.GRPCService, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	g := &s.Google
	secure := insecure.NewCredentials()
	if g.TLS {
		cfg, err := googleTLS(g)
		if err != nil {
			return nil, err
		}
		secure = credentials.NewTLS(cfg)
	}
	opts = append(opts, grpc.WithTransportCredentials(secure))
	if s.Authority != "" {
		opts = append(opts, grpc.WithAuthority(s.Authority))
	}
	if g.AccessToken != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer{token: g.AccessToken, secure: g.TLS}))
	}
	ping := keepalive.ClientParameters{Time: defaultPing, Timeout: defaultPingTimeout, PermitWithoutStream: g.KeepaliveIdle}
	if g.KeepaliveTime > 0 {
		ping.Time = g.KeepaliveTime
	}
	if g.KeepaliveTimeout > 0 {
		ping.Timeout = g.KeepaliveTimeout
	}
	target, dial := a.googleTarget(g.Target)
	return grpc.NewClient(target, append(opts, grpc.WithKeepaliveParams(ping), grpc.WithContextDialer(dial))...)
}

// googleTarget translates a gRPC name for Go's gRPC, which has no ipv4 and ipv6 schemes. Connections carry weir's mark, so
// that the kernel does not capture them.
func (a *Agent) googleTarget(target string) (string, func(context.Context, string) (net.Conn, error)) {
	dialer := &net.Dialer{ControlContext: a.markSocket}
	one := func(ctx context.Context, address string) (net.Conn, error) {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			return dialer.DialContext(ctx, "unix", path)
		}
		return dialer.DialContext(ctx, "tcp", address)
	}
	scheme, rest, _ := strings.Cut(target, ":")
	if scheme != "ipv4" && scheme != "ipv6" {
		return target, one
	}
	addresses := strings.Split(rest, ",")
	return "passthrough:///" + addresses[0], func(ctx context.Context, _ string) (net.Conn, error) {
		var errs []error
		for _, address := range addresses {
			c, err := one(ctx, address)
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
}
