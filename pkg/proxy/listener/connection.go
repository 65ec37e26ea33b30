package listener

import (
	"runtime/debug"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
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
	down    filter.Connection            // what that filter serves
	taken   *madeNetwork[filter.Network] // where serving comes from if ECDS configures it, to be given back to giver
	giver   *discoveredNetwork[filter.Network]
	passed  []passed // filters in front of the last one that were asked

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

// step runs f, and does what has to come next.
func (cn *connection) step(f func() state) {
	switch cn.guard(f) {
	case rests:
		cn.m.rested()
		cn.c.WhenReadable(cn.resume)
	case ended:
		cn.end()
	}
}

// goOn runs the chain's filter.
func (cn *connection) goOn() state {
	if cn.serving.Serve(cn.m.ctx, &cn.down) {
		return rests
	}
	_ = cn.down.Conn.Close()
	return ended
}

// Waits implements detect.Waiter.
func (cn *connection) Waits() { cn.waits() }

// waits gives the connection the goroutine that accepted it.
func (cn *connection) waits() {
	if cn.turn != nil {
		cn.turn.pass()
		cn.turn = nil
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

// guard keeps a panic of a filter within its connection, which has ended then.
func (cn *connection) guard(f func() state) (next state) {
	defer func() {
		if p := recover(); p != nil {
			cn.panicked(p, debug.Stack())
			next = ended
		}
	}()
	return f()
}

// panicked counts and logs a panic and resets the connection.
func (cn *connection) panicked(value any, stack []byte) {
	cn.m.stats.panics.Inc()
	cn.m.opts.Log.Error("panic while serving a connection", "connection", cn.info.ID, "listener", cn.info.Listener,
		"panic", value, "stack", string(stack))
	cn.c.Reset()
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
