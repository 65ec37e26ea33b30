package hcm

import (
	"math/rand/v2"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func random() uint64 { return rand.Uint64() }

// Route implements filter.Host.
func (s *stream) Route(*filter.Stream) filter.Route {
	if s.routed {
		return s.route
	}
	s.routed = true
	if scopes := s.conn.m.scopes; scopes != nil { // whose headers may be others by now
		s.table = scopes.table(s.Request, &s.Arena)
	}
	if s.table == nil {
		return s.route
	}
	s.route = s.table.Match(s.Request, &s.info, s.random)
	idle, life := s.conn.m.cfg.StreamIdleTimeout, s.conn.m.cfg.MaxStreamDuration
	if v := s.route.VirtualHost; v != nil {
		s.info.VirtualHost = v.Name
	}
	if r := s.route.Route; r != nil {
		s.info.RouteName = r.Name
		s.Format.RouteMetadata = r.Metadata
		if c := s.route.VirtualCluster; c != nil {
			s.info.VirtualCluster = c.Name
		}
		if a := r.Action; a != nil {
			life = s.lifeOn(a)
			if a.HasIdleTimeout {
				idle = a.IdleTimeout
			}
		}
	}
	if idle != s.idle || life != s.life { // of which this goroutine is the only writer
		s.mu.Lock()
		s.idle, s.life = idle, life
		s.mu.Unlock()
		s.conn.hurry(idle, life)
	}
	return s.route
}

// lifeOn is how long the stream may last on a route; 0 is unlimited. A grpc-timeout counts where the route says how.
func (s *stream) lifeOn(a *model.RouteAction) time.Duration {
	if a.StreamTimeouts && a.GRPCTimeoutMax >= 0 {
		if t, ok := format.GRPCTimeout(s.Request.Headers.Get(message.GRPCTimeout)); ok {
			if a.GRPCTimeoutMax > 0 {
				t = min(t, a.GRPCTimeoutMax)
			}
			return max(t-max(a.GRPCTimeoutOffset, 0), 1)
		}
	}
	if a.HasMaxStreamDuration {
		return a.MaxStreamDuration
	}
	return s.conn.m.cfg.MaxStreamDuration
}

// ClearRoute implements filter.Host.
func (s *stream) ClearRoute(*filter.Stream) {
	s.route, s.routed = filter.Route{}, false
	s.info.RouteName, s.info.VirtualHost, s.info.VirtualCluster = "", "", ""
}

// Informational implements filter.Host. As in Envoy, 1xx responses pass only with proxy_100_continue.
func (s *stream) Informational(_ *filter.Stream, r *message.Response) error {
	if !s.conn.m.cfg.Proxy100Continue {
		return nil
	}
	return s.src.WriteInformational(r)
}

// Watch implements filter.Host.
func (s *stream) Watch(_ *filter.Stream, a filter.Aborter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.aborted.Load(); x != nil && a != nil {
		return x
	}
	s.target = a
	return nil
}

// Finish implements filter.Host. An earlier exchange, whose response a filter has discarded, ends here.
func (s *stream) Finish(_ *filter.Stream, e filter.Ender) {
	if s.ender != nil {
		s.ender.End()
		s.ender.Release()
	}
	s.ender = e
}

// RequestComplete implements filter.Host.
func (s *stream) RequestComplete(*filter.Stream) bool {
	at := s.reqBody.endAt.Load()
	if at == 0 {
		return false
	}
	s.info.Timing.LastDownstreamRx = at
	return true
}
