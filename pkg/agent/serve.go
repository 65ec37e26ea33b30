package agent

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/options"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/store"
	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/lifecycle/notify"
)

// serve runs the process from the first snapshot to the last connection.
func (a *Agent) serve(ctx context.Context) error {
	a.announce()
	if err := a.obeyFlags(); err != nil {
		return err
	}
	a.collect.start(a.wheel)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGHUP)
	defer signal.Stop(signals)

	a.store.Load(a.cfg.Static, a.cfg.Bootstrap)
	if err := a.beginTakeOver(ctx); err != nil {
		return err
	}
	if err := a.startAdmin(); err != nil {
		return err
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- a.initialize(work) }()
	end := func() error {
		cancel()
		if ready != nil {
			<-ready // it has stopped, or has just gone live
		}
		return a.shutdown(signals)
	}
	flush := time.NewTicker(a.flushInterval())
	defer flush.Stop()
	for {
		select {
		case err := <-ready:
			ready = nil
			switch {
			case ctx.Err() != nil:
				continue
			case err != nil:
				return err
			}
			if a.opt.Mode == options.InitOnly {
				a.log.Info("initialized; --mode init_only ends here")
				return nil
			}
		case s := <-signals:
			if a.signalled(s) {
				return end()
			}
		case <-a.quit:
			return end()
		case <-ctx.Done():
			return end()
		case <-flush.C:
			a.tellForeign()
			a.capture.restorePins()
			a.flushDue()
		}
	}
}

// signalled acts on a signal and tells whether it ends the process.
func (a *Agent) signalled(s os.Signal) (end bool) {
	switch s {
	case syscall.SIGUSR1:
		a.reopenLogs()
	case syscall.SIGHUP: // ignored, as Envoy does
	default:
		a.log.Info("caught a signal", "signal", s.String())
		return true
	}
	return false
}

// initialize brings the process from PRE_INITIALIZING to LIVE in Envoy's order: static clusters, RTDS, CDS, then LDS, then
// the listeners open. It returns ctx's error when the process is to end before.
func (a *Agent) initialize(ctx context.Context) error {
	if err := a.clustersReady(ctx); err != nil {
		return err
	}
	a.sources.Start(ctx)
	if a.health != nil {
		a.health.start()
	}
	a.runtime.Subscribe(a.sources)
	if err := a.runtime.Await(ctx); err != nil {
		return err
	}
	a.startLoadReports(ctx)
	if src := a.cfg.Static.CDS; src != nil {
		a.store.Follow(src, xds.ClusterType)
	}
	if err := a.store.Await(ctx, func(p store.Progress) bool { return len(p.Waiting) == 0 && p.ClustersWarming == 0 }); err != nil {
		return err
	}
	if err := a.clustersReady(ctx); err != nil {
		return err
	}
	a.setState(stateInitializing)
	if src := a.cfg.Static.LDS; src != nil {
		a.store.Follow(src, xds.ListenerType)
	}
	if err := a.store.Await(ctx, func(p store.Progress) bool { return len(p.Waiting) == 0 && p.ListenersWarming == 0 }); err != nil {
		return err
	}
	return a.goLive(ctx)
}

// clustersReady waits for the first resolution of the clusters that there are.
func (a *Agent) clustersReady(ctx context.Context) error {
	return a.clusters.WaitReady(ctx, a.clusters.All().Names()...)
}

// StartError says why a weir whose configuration was accepted does not serve.
type StartError struct{ Err error }

// Error begins each line of the cause with what was attempted.
func (e *StartError) Error() string {
	return "start: " + strings.ReplaceAll(e.Err.Error(), "\n", "\nstart: ")
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// goLive opens the listeners and attaches the kernel programs.
func (a *Agent) goLive(ctx context.Context) error {
	if a.opt.Mode == options.InitOnly {
		return nil
	}
	if err := a.takeSockets(); err != nil {
		return &StartError{err}
	}
	a.mu.Lock()
	a.serving = true
	snap := a.last
	a.last = nil
	var errs []error
	a.openListenerLogs(model.Set[*model.Listener]{}, snap)
	for _, err := range slices.Concat(a.listeners.Apply(snap), a.udp.Apply(snap)) {
		a.log.Error("listener is not served", "error", err)
		if name := listenerOf(err); name == "" || !snap.Listeners.Get(name).Dynamic {
			errs = append(errs, err)
		}
	}
	a.last = snap
	if len(errs) == 0 {
		errs = append(errs, a.capture.begin(snap), a.datagrams.begin(snap))
	}
	if errors.Join(errs...) == nil {
		a.capture.leftovers()
	}
	a.mu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return &StartError{err}
	}
	a.acceleration.Begin(ctx, snap.Interception)
	a.tellForeign()
	a.server.workersStarted.Set(1)
	a.server.initTime.Record(uint64(time.Since(a.start).Milliseconds()))
	a.setState(stateLive)
	a.log.Info("all dependencies initialized. serving", "took", time.Since(a.start).Round(time.Millisecond))
	a.completeTakeOver()
	a.capture.inherit()
	a.dropPrivileges(snap.Interception)
	if err := notify.Send(a.readiness()); err != nil {
		a.log.Warn("the supervisor was not told", "error", err)
	}
	return nil
}

// shutdown ends the process in order: the kernel stops sending, the listeners stop accepting, what is under way finishes
// within the drain time. A second signal ends it at once.
func (a *Agent) shutdown(signals <-chan os.Signal) error {
	a.setState(stateDraining)
	a.mu.Lock()
	a.serving = false
	a.mu.Unlock()
	limit := a.announceEnd()
	a.capture.ending()
	a.surrenderOffloaded()
	a.awaitLastConnects()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM || s == syscall.SIGINT {
					a.log.Warn("caught a second signal: closing all connections now")
					cancel()
					return
				}
			case <-done:
				return
			}
		}
	}()
	a.log.Info("draining", "limit", limit)
	a.datagrams.ending()
	a.udp.Drain()
	a.listeners.StopAccepting()
	a.listeners.Finish()
	if err := a.listeners.Wait(ctx); err != nil {
		a.log.Warn("connections were closed before they had ended")
	}
	a.udp.Finish(ctx)
	if a.handover.Last() {
		a.flusher.Stop() // the next weir ships what is left
	} else {
		a.flushStats()
	}
	return nil
}

// setState changes the state of the process, and what statistics say of it: a process whose health check is made to fail counts
// as draining.
func (a *Agent) setState(s int32) {
	a.state.Store(s)
	if s == stateLive && a.unwell.Load() {
		s = stateDraining
	}
	a.server.state.Set(uint64(s))
	a.server.live.Set(0)
	if s != stateDraining {
		a.server.live.Set(1)
	}
}

// stateName is Envoy's name of the state.
func (a *Agent) stateName() string {
	s := a.state.Load()
	if s == stateLive && a.unwell.Load() {
		s = stateDraining
	}
	return [...]string{stateLive: "LIVE", stateDraining: "DRAINING", statePreInitializing: "PRE_INITIALIZING", stateInitializing: "INITIALIZING"}[s]
}

func (a *Agent) reopenLogs() {
	if err := a.access.Reopen(); err != nil {
		a.log.Warn("reopen access logs", "error", err)
	}
	if a.logFile == nil {
		return
	}
	if err := a.logFile.Reopen(); err != nil {
		a.log.Warn("reopen log", "error", err)
	}
}

// flushInterval is how often interval statistics close.
func (a *Agent) flushInterval() time.Duration {
	if d := a.cfg.Static.StatsFlushInterval; d > 0 {
		return d
	}
	return 5 * time.Second
}
