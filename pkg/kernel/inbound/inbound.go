package inbound

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
)

var errClosed = errors.New("inbound capture is closed")

// Options are what an Inbound needs to know besides its plan.
type Options struct {
	// Hierarchy of cgroups; nil for the host's own.
	Hierarchy *cgroup.Hierarchy
	// Pins keeps the links, so that the fail policy holds without the process; nil for none. The Inbound closes it.
	Pins *pin.Store
	// KeepPins leaves everything in place on Close, too.
	KeepPins bool
	// Ring is what decisions are told through; nil for nobody.
	Ring *events.Ring
}

// Inbound is inbound capture while it is loaded.
type Inbound struct {
	hierarchy *cgroup.Hierarchy
	objects   *objects
	pinned    *attach.Pinned
	cgroups   *attach.Cgroups
	news      *ringbuf.Reader
	// ring is told through by telling; numbered is what its numbers mean.
	ring     *events.Ring
	telling  *events.Source
	numbered events.Rules

	life  sync.RWMutex
	ended bool // guarded by life

	mu         sync.Mutex
	closed     bool
	generation uint32
	plan       *Plan
	lost       bool                   // the last plan is not in the kernel, since it did not fit, and nor is plan; see withoutRules
	holding    *Plan                  // plan, or the last one, when its fail policy holds without rules
	stale      *Plan                  // the plan before, whose rules are still in the map, under the generation before
	names      map[string][]link.Link // by the directories of the cgroups; see name
	namespaces map[uint64]*namespace
	policies   policies
	members    members
	idle       map[wirePlace]bool // places whose count looked wrong, or was zero, at the last look
}

// New loads the programs. Nothing is captured until there are a plan, cgroups and namespaces. The error is an *probe.UnavailableError
// when the host or the process's privileges do not allow it.
func New(opts Options) (*Inbound, error) {
	i, err := load(opts)
	if err != nil {
		if opts.Pins != nil {
			err = errors.Join(err, opts.Pins.Close())
		}
		return nil, probe.Unavailable("inbound capture", err)
	}
	return i, nil
}

func load(opts Options) (*Inbound, error) {
	var err error
	if opts.Hierarchy == nil {
		if opts.Hierarchy, err = cgroup.Find(); err != nil {
			return nil, err
		}
	}
	pinned, err := newPinned(opts)
	if err != nil {
		return nil, err
	}
	loaded, err := loadObjects(opts.Ring)
	if err != nil {
		return nil, err
	}
	news, err := ringbuf.NewReader(loaded.News)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read news of listening sockets: %w", err), loaded.close())
	}
	i := &Inbound{
		hierarchy: opts.Hierarchy, objects: loaded, news: news, plan: &Plan{}, holding: &Plan{},
		pinned: pinned, cgroups: attach.NewCgroups(opts.Hierarchy, pinned, loaded.hooks(), nil),
		names: make(map[string][]link.Link), namespaces: make(map[uint64]*namespace), ring: opts.Ring,
	}
	i.telling = i.source()
	if err := i.ring.Add(i.telling); err != nil {
		return nil, errors.Join(err, news.Close(), loaded.close())
	}
	return i, nil
}

// Close detaches everything and releases it. Await returns an error from then on. Close may be called more than once.
func (i *Inbound) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	i.closed = true
	i.pinned.End()
	var failed []error
	for cookie := range i.namespaces {
		failed = append(failed, i.drop(cookie))
	}
	failed = append(failed, i.cgroups.Close(), i.unnameAll(), i.news.Close())
	i.ring.Remove(i.telling)
	i.life.Lock()
	i.ended = true
	failed = append(failed, i.objects.close())
	i.life.Unlock()
	failed = append(failed, i.pinned.Close())
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("stop inbound capture: %w", err)
	}
	return nil
}

// SetCgroups makes the directories those whose processes are captured, those of cgroups below included. What can be attached is,
// also when something else cannot.
func (i *Inbound) SetCgroups(dirs []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("attach to cgroups: %w", errClosed)
	}
	change, err := i.cgroups.Set(dirs)
	failed := []error{err}
	for _, dir := range change.Detached {
		failed = append(failed, i.unname(dir))
	}
	for _, dir := range change.Attached {
		failed = append(failed, i.name(dir))
	}
	if len(change.Detached)+len(change.Attached) > 0 {
		i.members = members{}
	}
	return errors.Join(failed...)
}
