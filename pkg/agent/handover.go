package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/lifecycle/handover"
	"github.com/weir-proxy/weir/pkg/lifecycle/notify"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
)

// Bounds of an upgrade.
const (
	// ownTimeout is how long the pinned state may take to become free after the weir before has given it up.
	ownTimeout = 10 * time.Second
	// lastConnects is how long a connect() that met the last of this process's programs may take to reach its socket: nothing but
	// being scheduled is between.
	lastConnects = 100 * time.Millisecond
)

// handoverName is where the weir of a base id waits for the next one. It is not Envoy's own name, so that the two do not meet.
func (a *Agent) handoverName() string {
	return fmt.Sprintf("%s_weir_%d", a.opt.SocketPath, a.opt.BaseID)
}

// HandoverVersion is what --hot-restart-version prints: an upgrade while weir runs takes that the old and the new one say the same.
func HandoverVersion(o *options.Options) string {
	if o.HotRestartDisabled {
		return "disabled"
	}
	return handover.Version()
}

// beginTakeOver finds the weir that --restart-epoch says is running.
func (a *Agent) beginTakeOver(ctx context.Context) error {
	if a.opt.RestartEpoch == 0 || a.opt.HotRestartDisabled {
		return nil
	}
	p, err := handover.Begin(ctx, a.handoverName())
	switch {
	case err == nil:
		a.before = p
		a.capture.persistence.takeOver = true
		if err := a.inheritStatistics(ctx); err != nil {
			return fmt.Errorf("--restart-epoch %d: %w", a.opt.RestartEpoch, err)
		}
		a.log.Info("taking over", "pid", p.PID())
	case a.opt.SkipNoParent && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)):
		a.log.Info("there is no weir to take over from; starting without")
	default:
		return fmt.Errorf("--restart-epoch %d: %w", a.opt.RestartEpoch, err)
	}
	return nil
}

// inheritStatistics goes on from where the weir before is, as far as it tells.
func (a *Agent) inheritStatistics(ctx context.Context) error {
	origin := a.before.Origin()
	if !origin.Start.IsZero() {
		a.firstStart = origin.Start
	}
	if a.opt.SkipParentStats {
		return nil
	}
	a.server.generation.Set(origin.Generation + 1)
	return a.parent.begin(ctx, a.before, a.stats)
}

// takeSockets asks for the sockets of the weir before, when this one is about to open its own.
func (a *Agent) takeSockets() error {
	if a.before == nil {
		return nil
	}
	return a.before.Sockets(context.Background())
}

// inherit gives a socket of the weir before. Its capture sockets are of use only when the destinations of their connections are
// known.
func (a *Agent) inherit(key string) net.Listener {
	if listener.IsCapture(key) && !a.capture.inherits() {
		return nil
	}
	return a.before.Claim(key)
}

// completeTakeOver relieves the weir before, now that this one serves, and waits for the next one.
func (a *Agent) completeTakeOver() {
	if a.before != nil {
		ctx, cancel := context.WithTimeout(context.Background(), ownTimeout)
		defer cancel()
		if err := a.before.Done(ctx, a.opt.ParentShutdownTime); err != nil {
			a.log.Error("the weir before does not end", "error", err)
		}
		a.parent.serving.Store(true)
		a.parent.feed.Ask(0) // what it counted is not to be lost with it
		a.capture.own(ctx)
	}
	if a.opt.HotRestartDisabled {
		return
	}
	server, err := handover.Listen(a.handoverName(), fs.FileMode(a.opt.SocketMode), successor{a}, a.log)
	if errors.Is(err, syscall.EADDRINUSE) {
		a.log.Info("this weir cannot be upgraded while it runs: another one has its base id (--base-id)", "error", err)
		return
	}
	if err != nil {
		a.log.Warn("this weir cannot be upgraded while it runs", "error", err)
		return
	}
	a.handover = server
}

// closeHandover breaks off what is under way, in either direction.
func (a *Agent) closeHandover() {
	a.parent.feed.Close()
	if a.before != nil {
		a.before.Close()
	}
	if a.handover != nil {
		if err := a.handover.Close(); err != nil {
			a.log.Warn("close handover", "error", err)
		}
	}
}

// readiness is what the supervisor is told: after an upgrade, also which process is the service now.
func (a *Agent) readiness() string {
	if a.before == nil {
		return notify.Ready
	}
	return fmt.Sprintf("MAINPID=%d\n%s", os.Getpid(), notify.Ready)
}

// successor is what the next weir is told and given; see handover.Handler. Its methods run one at a time.
type successor struct{ a *Agent }

// Begin makes way for the admin interface of the next weir.
func (s successor) Begin(int) error {
	a := s.a
	a.mu.Lock()
	serving := a.serving
	a.mu.Unlock()
	if !serving {
		return errors.New("this weir is ending already")
	}
	a.closeAdmin()
	a.admin = nil
	return nil
}

// Origin tells of the first weir.
func (s successor) Origin() handover.Origin {
	return handover.Origin{Start: s.a.firstStart, Generation: s.a.server.generation.Value()}
}

// Statistics gives those of this process from the first.
func (s successor) Statistics() handover.Rounds { return &rounds{a: s.a, giver: s.a.stats.Giver()} }

// Sockets gives the sockets and leaves the kernel alone from now on.
func (s successor) Sockets() []handover.Socket {
	a := s.a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.capture.freeze()
	a.acceleration.Pause()
	var out []handover.Socket
	for _, p := range a.listeners.Pass() {
		out = append(out, handover.Socket{Key: p.Key, Conn: p.Conn})
	}
	for _, p := range a.udp.Pass() {
		out = append(out, handover.Socket{Key: p.Key, Conn: p.Conn})
	}
	return out
}

// Done ends this process in good order.
func (s successor) Done(shutdown time.Duration) {
	a := s.a
	a.mu.Lock()
	a.capture.yield()
	a.relieved = &shutdown
	a.mu.Unlock()
	a.stop()
}

// Abort goes on as before.
func (s successor) Abort() {
	a := s.a
	a.mu.Lock()
	a.capture.reclaim()
	a.acceleration.Resume()
	a.listeners.KeepSockets()
	a.udp.KeepSockets()
	if a.last != nil && a.serving {
		a.capture.apply(a.last)
		a.datagrams.apply(a.last)
	}
	a.mu.Unlock()
	if err := a.startAdmin(); err != nil {
		a.log.Error("open the admin interface again", "error", err)
	}
}

// announceEnd tells the supervisor that this process ends, unless another one has become the service, and gives how long connections
// may go on.
func (a *Agent) announceEnd() time.Duration {
	a.mu.Lock()
	relieved := a.relieved
	a.mu.Unlock()
	if relieved != nil {
		return *relieved
	}
	if err := notify.Send(notify.Stopping); err != nil {
		a.log.Warn("the supervisor was not told", "error", err)
	}
	return a.opt.DrainTime
}

// surrenderOffloaded keeps gauges from showing connections twice when another process goes on: what is in the kernel is that one's to count.
func (a *Agent) surrenderOffloaded() {
	a.mu.Lock()
	relieved := a.relieved != nil
	a.mu.Unlock()
	if relieved {
		a.capture.services.surrender()
	}
}

// awaitLastConnects lets connections arrive that this process's programs have captured just before they were detached, when
// another process goes on: nothing is to be lost then.
func (a *Agent) awaitLastConnects() {
	a.mu.Lock()
	relieved := a.relieved != nil
	a.mu.Unlock()
	if relieved {
		time.Sleep(lastConnects)
	}
}

// lifeCycleOf is the life cycle that a snapshot asks for.
func lifeCycleOf(snap *model.Snapshot) model.LifeCycle {
	if snap.Interception == nil {
		return model.LifeCycle{}
	}
	return snap.Interception.LifeCycle
}
