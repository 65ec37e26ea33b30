package tcpproxy

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// errPeerGone ends the wait for a cluster whose client has left.
var errPeerGone = errors.New("the client closed the connection")

// lookAfter is how often it is looked whether the client of a connection that waits is still there. Its bytes must stay
// unread until there is an upstream, so that reading does not tell.
const lookAfter = 250 * time.Millisecond

// fetchCounters are tcp.<stat_prefix>.on_demand_cluster_*.
type fetchCounters struct{ attempt, missing, success, timeout *stats.Counter }

func newFetchCounters(s *stats.Scope) fetchCounters {
	return fetchCounters{
		attempt: s.Counter("on_demand_cluster_attempt"), missing: s.Counter("on_demand_cluster_missing"),
		success: s.Counter("on_demand_cluster_success"), timeout: s.Counter("on_demand_cluster_timeout"),
	}
}

// fetch asks for a cluster that is not there; nil when it does not come in time.
func (s *session) fetch(ctx context.Context, name string) Cluster {
	st, cfg := &s.p.fetches, s.p.cfg.OnDemand
	st.attempt.Inc()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if cfg.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, cfg.Timeout, filter.ErrOverdue)
		defer stop()
	}
	if peer := peerOf(s.down.Conn); peer != nil {
		var look timer.Timer
		look.Init(s.p.deps.Wheel, func() {
			if peer.PeerClosed() {
				cancel(errPeerGone)
				return
			}
			look.Arm(lookAfter)
		})
		defer look.Release()
		look.Arm(lookAfter)
	}
	conn.Waits(ctx)
	err := s.p.deps.OnDemand.FetchCluster(ctx, cfg.Source, name)
	cl := s.p.deps.Cluster(name)
	switch {
	case cl != nil:
		st.success.Inc()
	case errors.Is(err, filter.ErrOverdue):
		st.timeout.Inc()
	case err == nil:
		st.missing.Inc()
	}
	return cl
}

// peer tells whether the other end of a socket has closed.
type peer interface{ PeerClosed() bool }

// peerOf is the socket below a connection; nil when it cannot be asked.
func peerOf(c net.Conn) peer {
	for {
		if p, ok := c.(peer); ok {
			return p
		}
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = over.NetConn()
	}
}
