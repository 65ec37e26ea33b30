package inbound

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
)

// pins are the links that outlive the process, with the programs and maps that they hold: those of sk_lookup in namespaces, and those
// on cgroups, which go on counting who listens. Nothing of them is taken over: the next process attaches programs of its own beside
// them, whose choice of a socket goes before what these would have refused, and then removes them. The zero value keeps nothing.
type pins struct {
	store *pin.Store
	// keep is Options.KeepPins, yielded is set when another process takes over, kept when the links stay although the process ends.
	keep, yielded, kept bool
}

func (p *pins) cgroup(id uint64, how ebpf.AttachType, l link.Link) error {
	if p.store == nil {
		return nil
	}
	return p.store.Link(id, how.String(), l)
}

func (p *pins) namespace(cookie uint64, l link.Link) error {
	if p.store == nil {
		return nil
	}
	return p.store.LinkElsewhere(fmt.Sprintf("netns_%d", cookie), l)
}

// drop closes a link, which detaches it unless it stays.
func (p *pins) drop(l link.Link) error {
	var err error
	if p.store != nil && !p.kept {
		if err = l.Unpin(); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, l.Close())
}

// ending decides what stays.
func (p *pins) ending() { p.kept = p.store != nil && (p.keep || p.yielded || !p.store.Locked()) }

func (p *pins) close() error {
	if p.store == nil {
		return nil
	}
	var err error
	if !p.kept {
		err = p.store.Remove()
	}
	return errors.Join(err, p.store.Close())
}

// Settle waits until the pinned state is this process's own, and removes what another one has left there. Everything that is to be
// captured has to be attached before.
func (i *Inbound) Settle(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.pins.store == nil {
		return nil
	}
	if err := i.pins.store.Lock(ctx); err != nil {
		return err
	}
	_, err := i.pins.store.Sweep()
	return err
}

// Yield leaves the pinned state to another process, which has attached its programs.
func (i *Inbound) Yield() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pins.store == nil {
		return nil
	}
	i.pins.yielded = true
	return i.pins.store.Close()
}
