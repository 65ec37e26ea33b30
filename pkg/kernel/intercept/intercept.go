package intercept

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/probe"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Options are what an Interceptor needs to know besides its plan.
type Options struct {
	// ProxyMark is the SO_MARK of the proxy's own connections, which are never captured, and of its capture sockets, without which
	// they are taken for somebody else's; 0 for none.
	ProxyMark uint32
	// ProxyCgroup is the id of the proxy's own cgroup, whose processes are never captured; 0 for none. See
	// cgroup.Hierarchy.OwnID.
	ProxyCgroup uint64
	// Hierarchy to resolve cgroup names in; nil for the host's own.
	Hierarchy *cgroup.Hierarchy
	// Netns is the cookie of the proxy's own network namespace; 0 for the caller's.
	Netns uint64
	// Pins keeps what must outlive the process; nil for nothing. The Interceptor closes it.
	Pins *pin.Store
	// KeepPins leaves everything in place on Close, too.
	KeepPins bool
	// Deferred attaches nothing before Activate is called, so that everything is in place when a daemon before is replaced.
	Deferred bool
	// Ring is what decisions are told through; nil for nobody.
	Ring *events.Ring
	// Notice is told of pinned state that could not be used; nil for nobody.
	Notice func(text string)
}

// Interceptor is the kernel half of weir while it is loaded.
type Interceptor struct {
	opts         Options
	objects      *objects
	controlInner *ebpf.MapSpec
	pinned       *attach.Pinned
	cgroups      *attach.Cgroups
	numbers      numbers
	services     *services
	rules        *rules
	telling      *events.Source

	life  sync.RWMutex
	ended bool // guarded by life

	mu       sync.Mutex
	closed   bool
	deferred bool // until Activate
	applied  applied
	lost     *steer.Plan // whose rules did not fit when there were none before; nil mostly. See withoutRules
	inForce  wireControl
	// attachedAll is set while the attachments are those of the plan, but for cgroups that Refresh will find.
	attachedAll bool
	sockets     map[uint64]wireSockets // weir_netns
	neighbours  neighbours
	missing     []string
}

// applied is what the maps hold.
type applied struct {
	generation uint32
	plan       *steer.Plan
}

// New loads the programs. Nothing is captured until a plan has been applied and capture sockets have been set. The error is an
// *probe.UnavailableError when the host or the process's privileges do not allow interception.
func New(opts Options) (*Interceptor, error) {
	i, err := load(opts)
	if err != nil {
		if opts.Pins != nil {
			err = errors.Join(err, opts.Pins.Close())
		}
		return nil, probe.Unavailable("interception", err)
	}
	return i, nil
}

func load(opts Options) (*Interceptor, error) {
	var err error
	if opts.Hierarchy == nil {
		if opts.Hierarchy, err = cgroup.Find(); err != nil {
			return nil, err
		}
	}
	if opts.Netns == 0 {
		if opts.Netns, err = sock.NetnsCookie(); err != nil {
			return nil, err
		}
	}
	pinned, numbers := newPinned(opts), newNumbers(opts.Pins != nil)
	loaded, controlInner, arenaInner, err := loadObjects(pinned, numbers.epoch, opts.Ring)
	if err != nil {
		return nil, errors.Join(err, pinned.Leave())
	}
	i := &Interceptor{
		opts: opts, objects: loaded, controlInner: controlInner, pinned: pinned, numbers: numbers, deferred: opts.Deferred,
		applied:    applied{plan: &steer.Plan{}},
		sockets:    make(map[uint64]wireSockets),
		neighbours: neighbours{fresh: make(map[string]bool), told: make(map[string]bool), looked: make(map[string]bool)},
	}
	i.services = newServices(newArena(loaded.Arena, arenaInner), loaded.Policies)
	i.rules = newRules(loaded, i.services)
	i.cgroups = attach.NewCgroups(opts.Hierarchy, pinned, loaded.hooks(), i.services.busy)
	i.telling = i.source()
	if err := opts.Ring.Add(i.telling); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	if err := i.putSockets(opts.Netns, wireSockets{}); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// Close detaches all programs and releases everything, what is pinned included unless Options.KeepPins or Yield say that it stays.
// The default cgroup is removed if this Interceptor made it and it is empty. Close may be called more than once.
func (i *Interceptor) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	i.closed = true
	i.pinned.End()
	failed := []error{i.cgroups.Close()}
	i.opts.Ring.Remove(i.telling)
	i.life.Lock()
	i.ended = true
	failed = append(failed, i.services.close(), i.objects.close())
	i.life.Unlock()
	failed = append(failed, i.pinned.Close())
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("stop intercepting: %w", err)
	}
	return nil
}
