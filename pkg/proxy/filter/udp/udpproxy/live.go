package udpproxy

import (
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/udp"
)

// Live lists at most limit sessions, in no order.
func (p *Proxy) Live(limit int) []udp.Session {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]udp.Session, 0, max(0, min(limit, len(p.sessions))))
	for _, s := range p.sessions {
		if len(out) >= limit {
			break
		}
		out = append(out, s.live())
	}
	return out
}

func (s *session) live() udp.Session {
	c := s.info.Conn
	l := udp.Session{
		ID: s.info.StreamID, Client: s.key.peer, Destination: s.key.local, Captured: c.OriginalDst.IsValid(), Listener: c.Listener,
		Cluster: s.info.Upstream.Cluster, Endpoint: s.info.Upstream.Host, Age: time.Since(s.info.Start),
		Received: s.totals.received.Load(), Sent: s.totals.sent.Load(),
	}
	if s.key.within != nil {
		l.Netns = s.key.within.Cookie
	}
	return l
}
