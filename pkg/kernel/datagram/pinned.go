package datagram

import (
	"context"
	"fmt"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
)

// layoutEpoch is counted up when the meaning of a carried map changes while its shape does not.
const layoutEpoch = 1

// carried names the maps that know of exchanges under way. Whoever has them never takes a number that was given for another
// destination's. Rules, settings and ports each daemon writes anew.
func carried() []string {
	return []string{"weir_udp_numbers", "weir_udp_dests", "weir_udp_next", "weir_udp_sockets", "weir_udp_peers"}
}

// programPrefix is what the names of all programs begin with.
const programPrefix = "weir_udp_"

// openPinned opens the place for what outlives the process, where there is to be one. A daemon that still runs goes on with the answers
// to what it has captured, so that its programs for them stay beside this one's until it ends.
func openPinned(o *Options) (*attach.Pinned, error) {
	kept := attach.Options{Keep: o.KeepPins, Prefix: programPrefix, Carried: carried(), Epoch: layoutEpoch, Beside: true, Notice: o.Notice}
	if o.OpenPins != nil {
		var err error
		if kept.Store, err = o.OpenPins(); err != nil {
			return nil, err
		}
	}
	return attach.New(kept), nil
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

// Activate attaches for the plan that was applied, and for those to come, when Options.Deferred held that back.
func (i *Interceptor) Activate() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || !i.deferred {
		return nil
	}
	i.deferred = false
	if i.objects == nil {
		return nil
	}
	if err := i.reattach(); err != nil {
		return fmt.Errorf("attach for datagrams: %w", err)
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
// Without pinned state it does nothing.
func (i *Interceptor) Freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pinned.Freeze()
}

// Yield leaves the pinned state to another daemon, which has led the links to its programs: from now on this Interceptor changes
// nothing any more, and its Close detaches nothing but what completes exchanges of its own.
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
