package inbound

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

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
	pins      pins
	news      *ringbuf.Reader
	// ring is told through by telling; named is what its numbers mean.
	ring    *events.Ring
	telling *events.Source
	named   atomic.Pointer[named]

	life  sync.RWMutex
	ended bool // guarded by life

	mu         sync.Mutex
	closed     bool
	generation uint32
	plan       *Plan
	lost       bool  // the last plan is not in the kernel, since it did not fit, and nor is plan; see withoutRules
	holding    *Plan // plan, or the last one, when its fail policy holds without rules
	stale      *Plan // the plan before, whose rules are still in the map, under the generation before
	attached   map[string]attachment
	namespaces map[uint64]*namespace
	policies   policies
	members    members
	idle       map[wirePlace]bool // places whose count looked wrong, or was zero, at the last look
}

// attachment is what is on one cgroup. The id tells the cgroup from a later one of the same name.
type attachment struct {
	id    uint64
	links []link.Link
	// names are the links of the programs that tell applications the addresses of clients; empty while that is not asked for.
	names []link.Link
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
	if opts.Pins != nil {
		if err := opts.Pins.Begin(); err != nil {
			return nil, err
		}
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
		hierarchy: opts.Hierarchy, objects: loaded, pins: pins{store: opts.Pins, keep: opts.KeepPins}, news: news, plan: &Plan{}, holding: &Plan{},
		attached: make(map[string]attachment), namespaces: make(map[uint64]*namespace), ring: opts.Ring,
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
	i.pins.ending()
	var failed []error
	for cookie := range i.namespaces {
		failed = append(failed, i.drop(cookie))
	}
	for dir := range i.attached {
		failed = append(failed, i.detach(dir))
	}
	failed = append(failed, i.news.Close())
	i.ring.Remove(i.telling)
	i.life.Lock()
	i.ended = true
	failed = append(failed, i.objects.close())
	i.life.Unlock()
	failed = append(failed, i.pins.close())
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
	changed := false
	var failed []error
	for _, dir := range dirs {
		fresh, err := i.attach(dir)
		changed = changed || fresh
		failed = append(failed, err)
	}
	for dir := range i.attached {
		if !slices.Contains(dirs, dir) {
			failed = append(failed, i.detach(dir))
			changed = true
		}
	}
	if changed {
		i.members = members{}
	}
	return errors.Join(failed...)
}

// attach puts the programs that count who listens on a cgroup, unless it is there, and tells whether it did. Removing a cgroup detached what was on it.
func (i *Inbound) attach(dir string) (fresh bool, err error) {
	id, err := cgroup.ID(dir)
	if err != nil {
		return false, err
	}
	if was, found := i.attached[dir]; found {
		if was.id == id {
			return false, nil
		}
		if err := i.detach(dir); err != nil {
			return true, err
		}
	}
	a := attachment{id: id}
	for _, hook := range []struct {
		how     ebpf.AttachType
		program *ebpf.Program
	}{{ebpf.AttachCgroupInetSockRelease, i.objects.Release}, {sockOps, i.objects.Ops}} {
		l, err := attachTo(dir, hook.program, hook.how)
		if err == nil {
			a.links = append(a.links, l)
			err = i.pins.cgroup(id, hook.how, l)
		}
		if err != nil {
			return false, errors.Join(err, i.release(a))
		}
	}
	i.attached[dir] = a
	return true, i.name(dir)
}

// release closes the links of a cgroup, which detaches them unless they stay.
func (i *Inbound) release(a attachment) error {
	var failed []error
	for _, l := range slices.Backward(a.links) {
		failed = append(failed, i.pins.drop(l))
	}
	for _, l := range a.names {
		failed = append(failed, l.Close())
	}
	return errors.Join(failed...)
}

func attachTo(dir string, p *ebpf.Program, how ebpf.AttachType) (link.Link, error) {
	target, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("attach to cgroup: %w", err)
	}
	defer target.Close()
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: int(target.Fd()), Program: p, Attach: how})
	if err != nil {
		return nil, fmt.Errorf("attach %s to cgroup %s: %w", how, dir, err)
	}
	return l, nil
}

func (i *Inbound) detach(dir string) error {
	a := i.attached[dir]
	delete(i.attached, dir)
	if err := i.release(a); err != nil {
		return fmt.Errorf("detach from cgroup %s: %w", dir, err)
	}
	return nil
}
