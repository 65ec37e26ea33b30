package listener

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/chain"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/detect"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
	tlsctx "github.com/weir-proxy/weir/pkg/proxy/tls"
)

// connection is one downstream connection, from accept to its end.
type connection struct {
	m    *Manager
	c    *conn.Conn
	info streaminfo.Connection
	// noChain tells that no filter chain matched.
	noChain bool
	// turn is that of the goroutine that accepted it and serves it in between; nil once it has one of its own.
	turn *turn

	drain  filter.Drain
	spread timer.Timer // tells it of a gradual drain

	at      *active                      // the listener that serves it, from serve on
	serving filter.Network               // the chosen chain's filter; nil before
	taken   *madeNetwork[filter.Network] // where serving comes from if ECDS configures it, to be given back to giver
	giver   *discoveredNetwork[filter.Network]
	passed  []passed          // filters in front of the last one that were asked
	down    filter.Connection // what that filter serves

	// Manager.connMu guards what follows.
	chain *runtime // nil before one was chosen
	// limited tells that it counts against the bound on all listeners.
	limited bool
}

// arrived takes over an accepted connection. It serves it at once, as far as nothing has to wait, when t is not nil.
func (m *Manager) arrived(s *socket, accepted conn.Accepted, t *turn) {
	cn := &connection{m: m, turn: t}
	c, err := m.opts.Poller.Take(accepted, &cn.info.RxBytes, &cn.info.TxBytes)
	if err != nil {
		m.opts.Log.Error("take over accepted connection", "error", err)
		return
	}
	cn.c = c
	now := time.Now()
	cn.info.ID, cn.info.Start = m.nextID.Add(1), now
	cn.info.Local, cn.info.BoundLocal = c.Local(), c.Local()
	cn.info.Remote, cn.info.DirectRemote = c.Remote(), c.Remote()
	cn.info.Namespace, cn.info.Inbound = s.within, s.isInbound(c.Local())
	cn.spread.Init(m.opts.Wheel, cn.tellDrain)
	target := s.target.Load()
	if !m.register(cn, target) {
		cn.spread.Release()
		_ = c.Close()
		return
	}
	if t == nil {
		go cn.run(target)
		return
	}
	cn.run(target)
}

// state is how a connection goes on after a step.
type state uint8

const (
	ended    state = iota
	rests          // it has no goroutine until there is something to do
	detached       // it goes on by itself, up to a call of done
)

// run serves the connection from its beginning. a is nil for connections of a capture socket.
func (cn *connection) run(a *active) { cn.step(func() state { return cn.begin(a) }) }

// resume serves a connection that has rested.
func (cn *connection) resume() { cn.step(cn.goOn) }

// step runs f.
func (cn *connection) step(f func() state) {
	switch cn.guard(f) {
	case rests:
		cn.m.rested()
		cn.c.WhenReadable(cn.resume)
	case ended:
		cn.end()
	}
}

// done is the end of a connection that went on by itself. It is called where nothing may wait.
func (cn *connection) done() {
	if cn.logged() { // a log whose file is slow makes its writers wait
		go cn.end()
		return
	}
	cn.end()
}

// end closes and accounts for the connection.
func (cn *connection) end() {
	cn.finish()
	_ = cn.c.Close() // the filter may have closed it
	cn.m.unregister(cn)
	cn.spread.Release() // now nobody arms it any more
}

// guard keeps a panic of a filter within its connection.
func (cn *connection) guard(f func() state) state {
	defer cn.recovered()
	return f()
}

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

// recovered keeps a panic of a filter within its connection.
func (cn *connection) recovered() {
	if p := recover(); p != nil {
		cn.panicked(p, debug.Stack())
	}
}

// panicked counts and logs a panic and resets the connection.
func (cn *connection) panicked(value any, stack []byte) {
	cn.m.stats.panics.Inc()
	cn.m.opts.Log.Error("panic while serving a connection", "connection", cn.info.ID, "listener", cn.info.Listener,
		"panic", value, "stack", string(stack))
	cn.c.Reset()
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
	if !handedOver && wantsOriginalDst(a) {
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
	if len(filters) > 0 {
		cn.waits()
	}
	st.preActive.Inc()
	defer st.preActive.Dec()
	timedOut, err := cn.m.pool.Run(cn.m.ctx, cn.c, &cn.info, detect.Options{
		Filters: filters, Timeout: a.cfg.ListenerFiltersTimeout, ContinueOnTimeout: a.cfg.ContinueOnListenerFiltersTimeout,
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

// goOn runs the chain's filter.
func (cn *connection) goOn() state {
	if cn.serving.Serve(cn.m.ctx, &cn.down) {
		return rests
	}
	_ = cn.down.Conn.Close()
	return ended
}

// waits gives the connection the goroutine that accepted it.
func (cn *connection) waits() {
	if cn.turn != nil {
		cn.turn.pass()
		cn.turn = nil
	}
}

// finish accounts for the connection at its listener.
func (cn *connection) finish() {
	a := cn.at
	if a == nil {
		return
	}
	if cn.taken != nil {
		cn.giver.give(cn.taken)
	}
	if cn.passed != nil {
		cn.endPassed()
	}
	a.stats.active.Dec()
	a.stats.destroy.Inc()
	elapsed := time.Since(cn.info.Start)
	a.stats.length.Record(uint64(elapsed.Milliseconds()))
	if cn.logged() {
		info := streaminfo.Info{Conn: &cn.info, Start: cn.info.Start, Duration: elapsed, Dynamic: cn.info.Dynamic}
		info.BytesReceived, info.BytesSent = cn.info.RxBytes.Load(), cn.info.TxBytes.Load()
		if cn.noChain {
			info.Flags, info.Details = streaminfo.NoRouteFound, "filter_chain_not_found"
		}
		cn.m.opts.AccessLog(a.cfg, &info)
	}
	if a.conns.Add(-1) == 0 && a.retired.Load() {
		cn.m.loops.Go(cn.m.settle) // an update may hold the lock for long
	}
}

// logged tells whether the listener has an access log.
func (cn *connection) logged() bool {
	return cn.at != nil && cn.m.opts.AccessLog != nil && len(cn.at.cfg.AccessLogs) > 0
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

func wantsOriginalDst(a *active) bool {
	if a.cfg.UseOriginalDst {
		return true
	}
	for _, lf := range a.cfg.ListenerFilters {
		if lf.TypeURL == originalDstType || lf.Name == originalDstName && lf.Discovery == nil {
			return true
		}
	}
	for _, d := range a.discovered {
		if c := d.cfg.Choose(d.find(d.name)); c != nil && c.TypeURL == originalDstType {
			return true
		}
	}
	return false
}

// How the listener filter is known that has to be told of the original destination.
const (
	originalDstType = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
	originalDstName = "envoy.filters.listener.original_dst"
)

func direction(d model.TrafficDirection) string {
	return [...]string{"UNSPECIFIED", "INBOUND", "OUTBOUND"}[d]
}
