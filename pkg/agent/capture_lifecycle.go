package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// persistence is what of the kernel half outlives the process.
type persistence struct {
	model.LifeCycle
	// instance keeps the state of several weirs apart.
	instance string
	// takeOver is true when another weir is about to give the state up.
	takeOver bool
	// settled is set when what an earlier weir left has been taken over, or removed.
	settled bool
	// problem is why the state is not what was asked for; nil when it is.
	problem error
	// shown is what others are told of it. It may be asked for without Agent.mu.
	shown atomic.Pointer[view.Persistence]
	// lost counts pins that somebody else has removed, and that were made anew.
	lost atomic.Uint64
}

// show has others told what outlives the process, and why that is less than was asked for; nil when it is not.
func (p *persistence) show(problem error) {
	names := map[model.Persistence]string{model.PersistProcess: "PROCESS", model.PersistUntilStopped: "UNTIL_STOPPED", model.PersistAlways: "ALWAYS"}
	state := &view.Persistence{Asked: names[p.Persistence]}
	if problem != nil {
		state.Error = problem.Error()
	}
	p.shown.Store(state)
}

// persisted is what outlives the process, nil before that is known.
func (c *capture) persisted() *view.Persistence {
	shown := c.persistence.shown.Load()
	if shown == nil {
		return nil
	}
	now := *shown
	now.LostPins = c.persistence.lost.Load()
	return &now
}

// restorePins pins again what somebody has removed while weir runs. It is told of once, and as often as it happens again.
func (c *capture) restorePins() {
	k := c.kernel.Load()
	if k == nil {
		return
	}
	missing, err := k.Restore()
	if missing > 0 {
		c.persistence.lost.Add(uint64(missing))
		c.log.Warn("somebody has removed pins of this weir from the BPF file system; they were made anew", "pins", missing)
	}
	shown := c.persistence.shown.Load()
	switch {
	case shown == nil:
	case err != nil && shown.Error != err.Error():
		c.log.Error("what was to outlive this process does not", "error", err)
		c.persistence.shown.Store(&view.Persistence{Asked: shown.Asked, Error: err.Error()})
	case err == nil && missing > 0:
		c.persistence.shown.Store(&view.Persistence{Asked: shown.Asked})
	}
}

// persist opens the place of the pinned state for an interceptor, when there is to be one. A problem is kept for begin; the state
// of another weir that runs is not touched.
func (c *capture) persist(o *intercept.Options) error {
	p := &c.persistence
	defer func() { p.show(p.problem) }()
	if p.Persistence == model.PersistProcess {
		return nil
	}
	store, err := p.open("")
	var busy *pin.BusyError
	if errors.As(err, &busy) {
		p.problem = fmt.Errorf("%w; --base-id keeps two of them apart, --restart-epoch takes over", err)
		return p.problem
	}
	if err != nil {
		p.problem = fmt.Errorf("interception does not outlive this process: %w", err)
		c.log.Error("life_cycle.persistence has no effect", "error", err)
		return nil
	}
	o.Pins, o.KeepPins, o.Deferred = store, p.Persistence == model.PersistAlways, !p.settled
	o.Notice = func(text string) { c.log.Warn(text) }
	return nil
}

// Suffixes of the names of an instance, for state beside that of connections.
const (
	datagramState = "_udp"
	inboundState  = "_inbound"
)

// states are the names of all state of an instance.
func (p *persistence) states() []string {
	return []string{p.instance, p.instance + datagramState, p.instance + inboundState}
}

// open opens the place of the state with a suffix.
func (p *persistence) open(suffix string) (*pin.Store, error) {
	return pin.Open(pin.Options{FS: p.FS, Instance: p.instance + suffix, TakeOver: p.takeOver})
}

// stays tells whether what is pinned stays when the process ends in order.
func (p *persistence) stays() bool { return p.Persistence == model.PersistAlways && p.problem == nil }

// fatal is the problem that weir ends for: any where interception is required, else that the state is another weir's.
func (p *persistence) fatal(required bool) error {
	var busy *pin.BusyError
	if required || errors.As(p.problem, &busy) {
		return p.problem
	}
	return nil
}

// settlePersistence is the end of begin: programs of an earlier weir are exchanged now that everything is in place. The error is fatal.
func (c *capture) settlePersistence(required bool) error {
	p := &c.persistence
	p.settled = true
	if err := p.fatal(required); err != nil {
		return err
	}
	if k := c.kernel.Load(); k != nil {
		if err := k.Activate(); err != nil {
			c.log.Error("the kernel kept its earlier rules", "error", err)
		}
	}
	if !p.takeOver {
		c.inbound.settle(context.Background())
	}
	return nil
}

// leftovers removes what an earlier weir of this instance has pinned and this one has not taken over, since it has nothing to capture
// there, or tells of it when that is not this one's to do.
func (c *capture) leftovers() {
	p := &c.persistence
	states, err := pin.List(pin.Places(p.FS)...)
	if err != nil {
		return // there is no BPF file system that could be read
	}
	for _, s := range states {
		switch {
		case !slices.Contains(p.states(), s.Instance) || s.Owned:
		case p.Persistence == model.PersistProcess:
			command := "weirctl cleanup"
			if p.FS != "" {
				command += " --bpf-fs " + p.FS
			}
			c.log.Warn("an earlier weir has left programs attached; `"+command+"` removes them", "dir", s.Dir)
		default:
			if err := pin.Discard(s); err != nil {
				c.log.Warn("remove what an earlier weir left", "error", err)
				continue
			}
			c.log.Info("removed what an earlier weir left, as nothing is to be captured", "dir", s.Dir)
		}
	}
}

// inherits tells whether the capture sockets of the weir before are of use here: its connections are known.
func (c *capture) inherits() bool {
	k := c.kernel.Load()
	return k != nil && k.Shares()
}

// ending stops capturing because the process ends, unless the fail policy is to hold without it.
func (c *capture) ending() {
	if !c.persistence.stays() {
		c.release()
	}
}

// own makes the pinned state this process's own, once the weir before has given it up.
func (c *capture) own(ctx context.Context) {
	if k := c.kernel.Load(); k != nil {
		if err := k.Own(ctx); err != nil {
			c.log.Error("take over the pinned state", "error", err)
		}
	}
	if k := c.datagrams.kernel.Load(); k != nil {
		if err := k.Own(ctx); err != nil {
			c.log.Error("take over the pinned state of datagrams", "error", err)
		}
	}
	c.inbound.settle(ctx)
	c.leftovers()
}

// freeze leaves the kernel as it is while another weir takes over.
func (c *capture) freeze() {
	if k := c.kernel.Load(); k != nil {
		k.Freeze()
	}
	if k := c.datagrams.kernel.Load(); k != nil {
		k.Freeze()
	}
}

// reclaim undoes freeze, and what the other weir did. Rules that came meanwhile are for the caller to apply.
func (c *capture) reclaim() {
	if k := c.kernel.Load(); k != nil {
		if err := k.Reclaim(); err != nil {
			c.log.Error("take the programs back", "error", err)
		}
	}
	if k := c.datagrams.kernel.Load(); k != nil {
		if err := k.Reclaim(); err != nil {
			c.log.Error("take the programs for datagrams back", "error", err)
		}
	}
}

// yield gives the pinned state up for another weir, which has taken over. That of connections comes last: who has it knows that the rest
// has been given up.
func (c *capture) yield() {
	if k := c.datagrams.kernel.Load(); k != nil {
		if err := k.Yield(); err != nil {
			c.log.Warn("give up the pinned state of datagrams", "error", err)
		}
	}
	if k := c.inbound.kernel.Load(); k != nil {
		if err := k.Yield(); err != nil {
			c.log.Warn("give up the pinned state of inbound capture", "error", err)
		}
	}
	if k := c.kernel.Load(); k != nil {
		if err := k.Yield(); err != nil {
			c.log.Warn("give up the pinned state", "error", err)
		}
	}
}

// instanceOf is the name of the pinned state of a base id.
func instanceOf(baseID uint) string { return strconv.FormatUint(uint64(baseID), 10) }
