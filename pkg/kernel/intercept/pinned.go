package intercept

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
)

// layoutEpoch is counted up when the meaning of a carried map changes while its shape does not.
const layoutEpoch = 1

// carried names the maps that know of connections under way.
func carried() []string {
	return []string{"weir_flows", "weir_offloads", "weir_places", "weir_handoff", "weir_reasons"}
}

// programPrefix is what the names of all of weir's programs begin with.
const programPrefix = "weir_"

// captureProgram is the name of the program by which a cgroup is known to be captured.
const captureProgram = programPrefix + "connect4"

func newPinned(o Options) *attach.Pinned {
	return attach.New(attach.Options{
		Store: o.Pins, Keep: o.KeepPins, Prefix: programPrefix, Carried: carried(), Epoch: layoutEpoch, Notice: o.Notice,
	})
}

// numbers are those that this daemon begins with.
type numbers struct {
	// epoch tells this daemon's numbers in sockets from those of a daemon before.
	epoch uint32
	// generation is that of the first rules.
	generation uint32
}

// newNumbers draws the numbers. Daemons that share sockets must not take the other's for theirs: neither those of listeners, rules and
// blocks, nor, for people, the generations.
func newNumbers(shared bool) numbers {
	if !shared {
		return numbers{epoch: 1, generation: 1}
	}
	return numbers{epoch: max(1, rand.Uint32()), generation: uint32(time.Now().Unix())}
}

// next is the generation after previous, 0 for none.
func (n numbers) next(previous uint32) uint32 {
	if previous == 0 {
		return n.generation
	}
	return previous + 1
}

// Restore pins again what somebody has removed from the BPF file system while this daemon runs, and tells how many pins that were.
func (i *Interceptor) Restore() (missing int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.deferred {
		return 0, nil
	}
	return i.cgroups.Restore()
}

// Shares tells whether the connections that a daemon before this one captured are known here, too, so that this one can go on with
// its capture sockets.
func (i *Interceptor) Shares() bool { return i.pinned.Shares() }

// Activate attaches for the plan that was applied, and for those to come, when Options.Deferred held that back.
func (i *Interceptor) Activate() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.deferred {
		return nil
	}
	i.deferred = false
	if err := i.reattach(i.capturing()); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return nil
}

// Own waits until the pinned state is this process's own, and removes what the daemon before left and nobody needs.
func (i *Interceptor) Own(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	return i.pinned.Own(ctx)
}

// Freeze changes nothing in the kernel from now on, since another daemon takes over, until Reclaim. OriginalDst goes on as before.
func (i *Interceptor) Freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pinned.Freeze()
}

// Yield leaves the pinned state to another daemon, which has led the links to its programs: from now on this Interceptor changes
// nothing any more, and its Close detaches nothing. OriginalDst goes on as before. Without pinned state it does nothing.
func (i *Interceptor) Yield() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pinned.Yield()
}

// Reclaim leads the links to this Interceptor's programs again, after a daemon that was to take over has failed.
func (i *Interceptor) Reclaim() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	return i.cgroups.Reclaim()
}
