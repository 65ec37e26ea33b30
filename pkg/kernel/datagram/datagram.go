package datagram

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
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

var errClosed = errors.New("interceptor is closed")

// Options are what an Interceptor needs to know besides its plan.
type Options struct {
	// ProxyMark is the SO_MARK of the proxy's own sockets, whose datagrams are never captured, and of its capture sockets, without
	// which they are taken for somebody else's; 0 for none.
	ProxyMark uint32
	// ProxyCgroup is the id of the proxy's own cgroup; 0 for none.
	ProxyCgroup uint64
	// Hierarchy to resolve cgroup names in; nil for the host's own.
	Hierarchy *cgroup.Hierarchy
	// Netns is the cookie of the network namespace of the capture sockets; 0 for the caller's.
	Netns uint64
	// OpenCapture opens the capture sockets of that namespace when they are first needed.
	OpenCapture func() (Ports, error)
	// OpenPins opens the place of what must outlive the process, when the programs are loaded; nil for nothing. The Interceptor closes
	// it.
	OpenPins func() (*pin.Store, error)
	// KeepPins leaves everything in place on Close, too.
	KeepPins bool
	// Deferred attaches nothing before Activate is called, so that everything is in place when a daemon before is replaced.
	Deferred bool
	// Ring is what decisions are told through; nil for nobody.
	Ring *events.Ring
	// Notice is told of pinned state that could not be used; nil for nobody.
	Notice func(text string)
}

// Ports are those of the capture sockets of a network namespace.
type Ports struct {
	// IPv4 is the port of the socket that takes what comes to any address of 127.0.0.0/8.
	IPv4 uint16
	// IPv6 are the ports of at most 16 sockets at ::1; there may be none.
	IPv6 []uint16
}

// Interceptor is the kernel half of capturing datagrams. It is safe for concurrent use.
type Interceptor struct {
	opts Options

	// life guards the pointer to what is loaded, which changes under mu too, and the ports by the cookies of their namespaces.
	life    sync.RWMutex
	objects *objects
	ports   map[uint64]Ports
	// controlInner is what control maps are made by.
	controlInner *ebpf.MapSpec
	// telling is the source of events, numbered what its numbers mean.
	telling  *events.Source
	numbered events.Rules

	mu         sync.Mutex
	closed     bool
	deferred   bool // until Activate
	pinned     *attach.Pinned
	cgroups    *attach.Cgroups
	generation uint32
	plan       *steer.Plan
	lost       bool // plan is not in the kernel, since it did not fit; see withoutRules
}

// New makes an Interceptor. It loads nothing.
func New(o Options) (*Interceptor, error) {
	var err error
	if o.Hierarchy == nil {
		if o.Hierarchy, err = cgroup.Find(); err != nil {
			return nil, err
		}
	}
	if o.Netns == 0 {
		if o.Netns, err = sock.NetnsCookie(); err != nil {
			return nil, err
		}
	}
	none := attach.New(attach.Options{}) // until the programs are loaded
	return &Interceptor{
		opts: o, deferred: o.Deferred, plan: &steer.Plan{}, ports: map[uint64]Ports{},
		pinned: none, cgroups: attach.NewCgroups(o.Hierarchy, none, nil, nil),
	}, nil
}

// Apply makes the plan what the kernel goes by; nil captures nothing. A datagram goes by the old rules or the new ones, never by a
// mixture. The programs are loaded with the first plan that has rules. An error before the rules are exchanged leaves the old
// ones in force, or, where there were none, the fail policy for everything; one about cgroups leaves the new ones in force where programs are attached.
func (i *Interceptor) Apply(plan *steer.Plan) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if plan == nil {
		plan = &steer.Plan{}
	}
	switch {
	case i.closed:
		return fmt.Errorf("apply plan for datagrams: %w", errClosed)
	case i.pinned.Yielded():
		return nil
	case i.objects == nil && len(plan.Rules) == 0:
		return nil
	case i.objects == nil:
		if err := i.load(); err != nil {
			return probe.Unavailable("capture of datagrams", err)
		}
	}
	if err := i.switchTo(plan); err != nil {
		return fmt.Errorf("apply plan for datagrams: %w", errors.Join(err, i.withoutRules(plan)))
	}
	if err := i.reattach(); err != nil {
		return fmt.Errorf("apply plan for datagrams: %w", err)
	}
	return nil
}

// load opens the capture sockets and loads the programs.
func (i *Interceptor) load() error {
	pinned, err := openPinned(&i.opts)
	if err != nil {
		return err
	}
	loaded, inner, err := loadObjects(pinned, i.opts.Ring)
	if err != nil {
		return errors.Join(err, pinned.Leave())
	}
	ports, err := i.opts.OpenCapture()
	if err != nil {
		return errors.Join(err, loaded.close(), pinned.Leave())
	}
	i.pinned, i.cgroups = pinned, attach.NewCgroups(i.opts.Hierarchy, pinned, loaded.hooks(), nil)
	i.life.Lock()
	i.objects, i.controlInner = loaded, inner
	i.life.Unlock()
	i.telling = i.source()
	return errors.Join(i.opts.Ring.Add(i.telling), i.setCapture(i.opts.Netns, ports))
}

// Loaded tells whether there was a plan with rules, so that capture sockets are of use.
func (i *Interceptor) Loaded() bool {
	i.life.RLock()
	defer i.life.RUnlock()
	return i.objects != nil
}

// SetCapture names the capture sockets of a network namespace by its cookie. Nothing is captured there without. It is for a loaded
// Interceptor.
func (i *Interceptor) SetCapture(netns uint64, ports Ports) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.objects == nil {
		return fmt.Errorf("set capture sockets for datagrams: %w", errClosed)
	}
	return i.setCapture(netns, ports)
}

func (i *Interceptor) setCapture(netns uint64, ports Ports) error {
	wire := wirePorts{Port4: portOf(ports.IPv4)}
	for n, port := range ports.IPv6[:min(len(ports.IPv6), slots)] {
		wire.Port6[n] = portOf(port)
	}
	i.life.Lock()
	i.ports[netns] = ports
	i.life.Unlock()
	if err := i.objects.Netns.Put(netns, &wire); err != nil {
		return fmt.Errorf("set capture sockets for datagrams: %w", err)
	}
	return nil
}

// ClearCapture stops capturing in a network namespace.
func (i *Interceptor) ClearCapture(netns uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.life.Lock()
	delete(i.ports, netns)
	i.life.Unlock()
	if i.objects != nil {
		_ = i.objects.Netns.Delete(netns) // it may never have been there
	}
}

// switchTo puts a plan in force. Rules are rewritten under a new generation only when they differ.
func (i *Interceptor) switchTo(plan *steer.Plan) error {
	was, generation := i.plan, i.generation
	rewrite := i.generation == 0 || i.lost || steer.Diff(was, plan).Rules()
	if rewrite {
		generation++
		if err := i.write(generation, plan); err != nil {
			i.erase(generation, plan)
			return err
		}
	}
	i.number(generation, plan)
	if err := i.swap(i.control(generation, plan)); err != nil {
		if rewrite {
			i.erase(generation, plan)
		}
		return err
	}
	i.plan, i.generation, i.lost = plan, generation, false
	if rewrite {
		i.erase(generation-1, was)
	}
	return nil
}

func (i *Interceptor) write(generation uint32, plan *steer.Plan) error {
	for n, rule := range plan.Rules {
		key, value := prefixKey(generation, rule), wireRule{Action: uint32(rule.Action), Rule: uint32(n + 1)}
		if err := i.objects.Rules.Put(&key, &value); err != nil {
			return fmt.Errorf("write rule %s udp port %d: %w", rule.Prefix, rule.Port, err)
		}
	}
	for n, rule := range plan.Excludes {
		key, value := prefixKey(generation, rule), wireRule{Rule: uint32(n + 1)}
		if err := i.objects.Exclude.Put(&key, &value); err != nil {
			return fmt.Errorf("write exclusion %s udp port %d: %w", rule.Prefix, rule.Port, err)
		}
	}
	return nil
}

// erase removes the rules of a generation that is not in force; a missing one was never written.
func (i *Interceptor) erase(generation uint32, plan *steer.Plan) {
	for _, rule := range plan.Rules {
		key := prefixKey(generation, rule)
		_ = i.objects.Rules.Delete(&key)
	}
	for _, rule := range plan.Excludes {
		key := prefixKey(generation, rule)
		_ = i.objects.Exclude.Delete(&key)
	}
}

// withoutRules has the fail policy of a plan hold for everything, since its rules are not in the kernel and no others are: with CLOSED all
// datagrams of its cgroups are refused, but for the proxy's own. Rules that are in force stay.
func (i *Interceptor) withoutRules(plan *steer.Plan) error {
	if !i.lost && i.generation > 0 && len(i.plan.Rules) > 0 && !i.plan.Disabled {
		return nil
	}
	control := i.control(i.generation, plan)
	control.Flags |= flagRulesLost
	if !plan.FailClosed {
		control.Flags = 0
	}
	if err := i.swap(control); err != nil {
		return err
	}
	i.plan, i.lost = plan, true
	return i.reattach()
}

// swap puts settings in force.
func (i *Interceptor) swap(control wireControl) error {
	return program.SwapControl(i.objects.Control, i.controlInner, &control)
}

func (i *Interceptor) control(generation uint32, plan *steer.Plan) wireControl {
	c := wireControl{Generation: generation, ProxyMark: i.opts.ProxyMark, ProxyCgroup: i.opts.ProxyCgroup}
	if !plan.Disabled && len(plan.Rules) > 0 {
		c.Flags |= flagEnabled
	}
	if plan.FailClosed {
		c.Flags |= flagFailClosed
	}
	if len(plan.Excludes) > 0 {
		c.Flags |= flagHasExcludes
	}
	return c
}

// Close detaches all programs and releases everything. It may be called more than once.
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
	if i.objects != nil {
		failed = append(failed, i.objects.close())
		i.objects = nil
	}
	i.life.Unlock()
	failed = append(failed, i.pinned.Close())
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("stop capturing datagrams: %w", err)
	}
	return nil
}
