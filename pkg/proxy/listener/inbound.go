package listener

import (
	"maps"
	"net"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Loops tells weir's own connections to applications from those of clients.
type Loops interface {
	// OwnConnection tells whether weir itself made the connection from client to server, in the namespace with this cookie, 0 for
	// weir's own, in order to reach an application.
	OwnConnection(netns uint64, client, server netip.AddrPort) bool
}

// CaptureListeners are the capture sockets in a namespace, nil for weir's own.
func (m *Manager) CaptureListeners(in *streaminfo.Namespace) []net.Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	sockets := m.capture
	if in != nil {
		sockets = m.within[in]
	}
	var out []net.Listener
	for _, s := range sockets {
		out = append(out, s.ln)
	}
	return out
}

// isInbound tells whether the kernel side gave a connection to the socket on its way to an application: then the connection has
// the application's address, and not that of the socket.
func (s *socket) isInbound(local netip.AddrPort) bool {
	return s.target.Load() == nil && s.bound.IsValid() && local != s.bound
}

// arrival finds the listener of a connection that was captured on its way to an application. Its own address is its original
// destination.
func (cn *connection) arrival() *active {
	m, dst := cn.m, cn.info.Local
	if m.opts.Loops != nil && m.opts.Loops.OwnConnection(cookie(cn.info.Namespace), cn.info.Remote, dst) {
		m.stats.loops.Inc()
		m.opts.Log.Warn("close captured connection: it is weir's own connection to an application and has come back", "client", cn.info.Remote, "destination", dst)
		cn.c.Reset()
		return nil
	}
	cn.info.OriginalDst = dst
	if in := m.routes.Load().inbound; in != nil {
		if a := in.captured(dst); a != nil {
			return a
		}
	}
	m.stats.noListener.Inc()
	m.opts.Log.Debug("close captured connection: no inbound listener for its destination", "client", cn.info.Remote, "destination", dst)
	cn.c.Reset()
	return nil
}

// inboundHandOff is the hand-off of connections that come in: listeners of outbound traffic have no part in it, though they may be
// at the same address, and of those with use_original_dst only inbound ones. It is nil without inbound listeners.
func inboundHandOff(listeners map[string]*active, left func(*model.Listener) bool) *handOff {
	theirs, found := maps.Clone(listeners), false
	for name, a := range listeners {
		switch a.cfg.TrafficDirection {
		case model.TrafficInbound:
			found = true
		case model.TrafficOutbound:
			delete(theirs, name)
		}
	}
	if !found {
		return nil
	}
	h := newHandOff(theirs, left)
	h.catchAll = nil
	for _, a := range theirs {
		if a.cfg.TrafficDirection == model.TrafficInbound && a.cfg.UseOriginalDst && !left(a.cfg) &&
			(h.catchAll == nil || a.cfg.Name < h.catchAll.cfg.Name) {
			h.catchAll = a
		}
	}
	return h
}

// outboundHandOff is the hand-off of connections that were captured on their way out, in which inbound listeners have no part. whole
// is that of all listeners.
func outboundHandOff(whole *handOff, left func(*model.Listener) bool) *handOff {
	for _, a := range whole.byName {
		if a.cfg.TrafficDirection == model.TrafficInbound {
			return newHandOff(whole.byName, func(l *model.Listener) bool { return left(l) || l.TrafficDirection == model.TrafficInbound })
		}
	}
	return whole
}

// Arrival tells which listener takes a connection that is captured on its way to an application. It looks up what connections look
// up, and changes nothing.
func (m *Manager) Arrival(dst netip.AddrPort) (Route, bool) {
	in := m.routes.Load().inbound
	if in == nil {
		return Route{}, false
	}
	return routeOf(in.lookUp(dst))
}
