package inbound

import (
	"context"
	"fmt"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// newPinned is for the links that outlive the process, with the programs and maps that they hold: those of sk_lookup in namespaces, and
// those on cgroups, which go on counting who listens. Nothing of them is taken over: the next process attaches programs of its own beside
// them, whose choice of a socket goes before what these would have refused, and then removes them.
func newPinned(o Options) (*attach.Pinned, error) {
	if o.Pins != nil {
		if err := o.Pins.Begin(); err != nil {
			return nil, err
		}
	}
	return attach.New(attach.Options{Store: o.Pins, Keep: o.KeepPins}), nil
}

// pinName is what the link of a namespace is pinned as.
func pinName(cookie uint64) string { return fmt.Sprintf("netns_%d", cookie) }

// Settle waits until the pinned state is this process's own, and removes what another one has left there. Everything that is to be
// captured has to be attached before.
func (i *Inbound) Settle(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	return i.pinned.Own(ctx)
}

// Restore pins again what somebody has removed from the BPF file system while this daemon runs, and tells how many pins that were.
func (i *Inbound) Restore() (missing int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return 0, nil
	}
	var links []pin.OwnLink
	for cookie, n := range i.namespaces {
		links = append(links, pin.Elsewhere(pinName(cookie), n.link))
	}
	return i.cgroups.Restore(links...)
}

// Yield leaves the pinned state to another process, which has attached its programs.
func (i *Inbound) Yield() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pinned.Yield()
}
