package listener

import (
	"context"
	"errors"
	"net"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/chain"
	"github.com/weir-proxy/weir/pkg/proxy/detect"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
)

// begin finds the listener that the connection is for, by way of the one that accepted it, and lets it serve. a is nil for
// connections of a capture socket.
func (cn *connection) begin(a *active) state {
	captured := a == nil
	if captured {
		if a = cn.destination(); a == nil {
			return ended
		}
	}
	for {
		next, err := cn.enter(a, captured)
		if err != nil {
			return ended
		}
		if next == nil {
			return cn.serve(a)
		}
		a, captured = next, true // a connection is handed over once
	}
}

// destination finds the listener of a captured connection. Without one the client sees a reset, since nobody can serve
// what it asked for.
func (cn *connection) destination() *active {
	if cn.info.Inbound {
		return cn.arrival()
	}
	m := cn.m
	dst, ok := m.originalDst(cn)
	if !ok {
		m.stats.noOriginalDst.Inc()
		m.opts.Log.Debug("close captured connection: its original destination is not known", "client", cn.info.Remote)
		cn.c.Reset()
		return nil
	}
	cn.info.Local, cn.info.OriginalDst = dst, dst
	cn.identify(dst)
	a := m.routes.Load().outbound.captured(dst)
	if a == nil {
		m.stats.noListener.Inc()
		m.opts.Log.Debug("close captured connection: no listener for its destination", "client", cn.info.Remote, "destination", dst)
		cn.c.Reset()
	}
	return a
}

// enter lets a listener look at the connection. It gives the listener that the connection is to be handed over to, if
// any; an error has been dealt with.
func (cn *connection) enter(a *active, handedOver bool) (next *active, err error) {
	cn.info.Listener, cn.info.TrafficDirection = a.cfg.Name, direction(a.cfg.TrafficDirection)
	if !handedOver && wantsOriginalDst(a, cn.info.Local) {
		if dst, ok := cn.m.originalDst(cn); ok {
			cn.info.OriginalDst = dst
		}
	}
	if err := cn.inspect(a); err != nil {
		return nil, err
	}
	if !handedOver && a.cfg.UseOriginalDst && cn.info.OriginalDst.IsValid() {
		cn.info.Local = cn.info.OriginalDst
		if next := cn.m.routes.Load().find(cn.info.Local); next != nil && next != a {
			return next, nil
		}
	}
	return nil, nil
}

// inspect runs the listener filters.
func (cn *connection) inspect(a *active) error {
	st := a.stats
	filters, ok := a.filtersNow()
	if !ok {
		st.configMissing.Inc()
		cn.m.opts.Log.Debug("close connection", "connection", cn.info.ID, "listener", a.cfg.Name, "reason", errNoConfig)
		return errNoConfig
	}
	st.preActive.Inc()
	defer st.preActive.Dec()
	timedOut, err := cn.m.pool.Run(cn.m.ctx, cn.c, &cn.info, detect.Options{
		Filters: filters, Timeout: a.cfg.ListenerFiltersTimeout, ContinueOnTimeout: a.cfg.ContinueOnListenerFiltersTimeout,
		Waiter: cn,
	})
	if timedOut {
		st.preTimeout.Inc()
	}
	switch {
	case err == nil || errors.Is(err, detect.ErrTimeout):
	case errors.Is(err, detect.ErrRemoteClose):
		st.filterRemoteClose.Inc()
	default:
		st.filterError.Inc()
	}
	if err != nil {
		cn.m.opts.Log.Debug("close connection", "connection", cn.info.ID, "listener", a.cfg.Name, "reason", err)
	}
	return err
}

// serve chooses the filter chain and runs it.
func (cn *connection) serve(a *active) state {
	st := a.stats
	st.total.Inc()
	if n := a.conns.Add(1); n > cn.m.limit(a) {
		a.conns.Add(-1)
		st.overflow.Inc()
		return ended
	}
	st.active.Inc()
	cn.at = a
	r := cn.choose(a)
	if r == nil {
		st.noChain.Inc()
		cn.noChain = true
		cn.m.opts.Log.Debug("close connection: no matching filter chain found", "connection", cn.info.ID, "listener", a.cfg.Name)
		return ended
	}
	cn.info.FilterChain = r.cfg.Name
	cn.serving = r.filter
	if r.discovered != nil && !cn.discover(a, r.discovered) {
		return ended
	}
	if r.before != nil || r.tls != nil {
		cn.waits()
	}
	cn.down = filter.Connection{Conn: cn.c, Info: &cn.info, Drain: &cn.drain, Reset: cn.c.Reset, Panicked: cn.panicked}
	if r.before != nil && !cn.accepted(a, r.before) {
		return ended
	}
	payload := cn.secure(a, r)
	if payload == nil || cn.serving == nil {
		return ended
	}
	cn.down.Conn = payload
	if cn.passed != nil && !cn.begun() {
		_ = payload.Close()
		return ended
	}
	if f, ok := cn.serving.(filter.Detached); ok {
		ctx := cn.m.ctx
		if cn.turn != nil {
			ctx = cn.turn.ctx
		}
		f.Begin(ctx, &cn.down, cn.done)
		return detached
	}
	cn.waits()
	return cn.goOn()
}

// discover takes the chain's filter in the form that ECDS gives it now; false while there is none.
func (cn *connection) discover(a *active, d *discoveredNetwork[filter.Network]) bool {
	if cn.taken = d.take(); cn.taken == nil {
		cn.noConfig(a, d.name)
		return false
	}
	cn.serving, cn.giver = cn.taken.filter, d
	return true
}

// noConfig notes that a connection ends because a network filter has no configuration.
func (cn *connection) noConfig(a *active, name string) {
	a.stats.networkConfigMissing.Inc()
	cn.m.opts.Log.Debug("close connection: its network filter has no configuration", "connection", cn.info.ID, "listener", a.cfg.Name, "filter", name)
}

// choose finds the filter chain; nil when none matches. When an update takes the chain away this moment, the listener's
// next version decides.
func (cn *connection) choose(a *active) *runtime {
	for {
		fc := a.table.Find(&chain.Input{
			Destination: cn.info.Local, Source: cn.info.Remote, DirectSource: cn.info.DirectRemote,
			ServerName: cn.info.ServerName, TransportProtocol: cn.info.TransportProtocol, ALPN: cn.info.ALPN,
		})
		if fc == nil {
			return nil
		}
		if r := a.chains[fc]; cn.m.assign(cn, r) {
			return r
		}
		next := cn.m.routes.Load().byName[a.cfg.Name]
		if next == nil || next == a {
			return nil
		}
		a = next
	}
}

// secure terminates TLS where the chain wants it; nil when the handshake did not succeed.
func (cn *connection) secure(a *active, r *runtime) net.Conn {
	if r.tls == nil {
		return cn.c
	}
	ctx, timeout := cn.m.ctx, r.cfg.TransportSocketConnectTimeout
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	tc, err := r.tls.Handshake(tlsctx.NoteCertificate(ctx, &cn.info.LocalCertificate), cn.c)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			a.stats.handshakeTimeout.Inc()
			cn.info.TerminationDetails = "transport socket timeout was reached"
		}
		cn.info.TransportFailure = tlsctx.FailureReason(err)
		cn.m.opts.Log.Debug("close connection", "connection", cn.info.ID, "listener", a.cfg.Name, "reason", err)
		return nil
	}
	state := tc.ConnectionState()
	cn.info.TLS, cn.info.PeerValidated = &state, r.cfg.TLS.Validation != nil
	return tc
}

func direction(d model.TrafficDirection) string {
	return [...]string{"UNSPECIFIED", "INBOUND", "OUTBOUND"}[d]
}
