package acceleration

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/accel"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// interval is how often cgroups and addresses are looked at when nobody says that they have changed.
const interval = 2 * time.Second

// Options are what an Acceleration needs; all of them.
type Options struct {
	Log    *slog.Logger
	Stats  *stats.Scope
	Poller *conn.Poller
	// Doors are the addresses at which weir takes connections.
	Doors func() []netip.AddrPort
}

// Acceleration has payload go past TCP where that was asked for and is possible.
type Acceleration struct {
	opt  Options
	host host
	// wake has capacity 1, stop is closed by Close.
	wake, stop chan struct{}
	running    sync.WaitGroup

	mu      sync.Mutex
	cfg     model.Acceleration
	verdict verdict
	kernel  *accel.Accelerator // nil while nothing is in force
	local   *addresses
	closed  bool
	// follower is nil with kernel.
	follower *follower
	counted  counted
}

// New accelerates nothing yet.
func New(o Options) *Acceleration {
	return &Acceleration{
		opt: o, wake: make(chan struct{}, 1), stop: make(chan struct{}), local: new(addresses),
		host: host{supported: accel.Supported, test: accel.SelfTest, counts: accel.Counts},
	}
}

// Begin puts in force what i asks for, as far as this host allows, for connections that begin from now on; what it does not allow
// is told in the log. Finding out takes a small part of a second, five seconds for each mode at most. It is called once; i may be nil.
func (a *Acceleration) Begin(ctx context.Context, i *model.Interception) {
	if i == nil || i.Acceleration.Mode == model.AccelerateNothing {
		return
	}
	found := verdict{why: "interception is disabled"}
	if !i.Disabled {
		found = decide(ctx, i.Acceleration.Mode, len(i.Acceleration.Applications) > 0, a.host)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cfg, a.verdict = i.Acceleration, found
	if a.verdict.mode != model.AccelerateNothing {
		if err := a.load(i); err != nil {
			a.verdict = verdict{why: err.Error()}
		}
	}
	a.counted.begin(a.opt.Stats, a.cfg.Mode, a.verdict.mode)
	if a.verdict.why != "" {
		a.opt.Log.Warn("less is accelerated than acceleration.mode asks for", "asked", a.cfg.Mode, "mode", a.verdict.mode, "why", a.verdict.why)
	}
	if a.kernel == nil {
		return
	}
	a.opt.Log.Info("acceleration is on", "mode", a.verdict.mode)
	a.running.Go(a.run)
}

// load has the kernel take sockets in, and the poller use that.
func (a *Acceleration) load(i *model.Interception) error {
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	k, err := accel.Load(accel.Options{Limit: uint64(cmp.Or(a.cfg.MaxUnread, model.DefaultMaxUnread))})
	if err != nil {
		return err
	}
	cgroups := i.Cgroups
	if len(cgroups) == 0 {
		cgroups = []string{steer.DefaultCgroup}
	}
	if a.verdict.named {
		cgroups = nil
	}
	a.kernel = k
	a.follower = newFollower(h, cgroups, a.cfg.Applications, a.verdict.mode == model.AccelerateFull, a.opt.Log, a.Changed)
	a.refresh()
	a.enable()
	return nil
}

// enable has connections that begin from now on be accelerated. The caller holds mu.
func (a *Acceleration) enable() {
	after := cmp.Or(a.cfg.MinOperations, model.DefaultMinOperations)
	a.opt.Poller.Accelerate(adapter{a.kernel, a.local}, int(after))
}

// Changed has cgroups and addresses looked at soon. It does not wait, and may be called at any time.
func (a *Acceleration) Changed() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *Acceleration) run() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-a.wake:
		case <-tick.C:
		}
		a.mu.Lock()
		a.refresh()
		a.mu.Unlock()
	}
}

// refresh follows cgroups and addresses. What does not succeed is told once. The caller holds mu.
func (a *Acceleration) refresh() {
	if a.closed || a.follower.paused {
		return
	}
	before := a.follower.problem
	a.follower.problem = ""
	err := errors.Join(a.follower.attach(a.kernel), a.kernel.SetDoors(a.opt.Doors()), a.local.refresh())
	if err == nil {
		return
	}
	a.follower.problem = strings.ReplaceAll(err.Error(), "\n", "; ")
	if a.follower.problem != before {
		a.opt.Log.Warn("some connections are not accelerated", "error", a.follower.problem)
	}
}

// Pause takes nothing new in, so that another weir can; connections under way stay as they are.
func (a *Acceleration) Pause() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kernel == nil || a.follower.paused {
		return
	}
	a.follower.paused = true
	a.opt.Poller.Accelerate(nil, 0)
	if err := a.kernel.Attach(nil, nil); err != nil {
		a.opt.Log.Warn("detach acceleration", "error", err)
	}
}

// Resume undoes Pause.
func (a *Acceleration) Resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kernel == nil || a.closed || !a.follower.paused {
		return
	}
	a.follower.paused = false
	a.refresh()
	a.enable()
}

// Close unloads, what connections still need with the last of them. It may be called more than once.
func (a *Acceleration) Close() {
	a.mu.Lock()
	kernel, first := a.kernel, !a.closed
	a.closed = true
	a.mu.Unlock()
	if kernel == nil || !first {
		return
	}
	close(a.stop)
	a.running.Wait()
	if err := errors.Join(a.follower.close(), kernel.Close()); err != nil {
		a.opt.Log.Warn("end acceleration", "error", err)
	}
}
