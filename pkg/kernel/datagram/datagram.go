package datagram

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

var errClosed = errors.New("interceptor is closed")

// Options are what an Interceptor needs to know besides its plan.
type Options struct {
	// ProxyMark is the SO_MARK of the proxy's own sockets, whose datagrams are never captured; 0 for none.
	ProxyMark uint32
	// ProxyCgroup is the id of the proxy's own cgroup; 0 for none.
	ProxyCgroup uint64
	// Hierarchy to resolve cgroup names in; nil for the host's own.
	Hierarchy *cgroup.Hierarchy
	// Netns is the cookie of the network namespace of the capture sockets; 0 for the caller's.
	Netns uint64
	// OpenCapture opens the capture sockets when they are first needed: the port of the one for 127.0.0.0/8, and those of at most 16 at
	// ::1, which may be none.
	OpenCapture func() (ipv4 uint16, ipv6 []uint16, err error)
}

// Interceptor is the kernel half of capturing datagrams. It is safe for concurrent use.
type Interceptor struct {
	opts Options

	// life guards the pointer to what is loaded, which changes under mu too.
	life    sync.RWMutex
	objects *objects
	// controlInner is what control maps are made by.
	controlInner *ebpf.MapSpec

	mu         sync.Mutex
	closed     bool
	port4      uint16
	port6      []uint16
	generation uint32
	plan       *steer.Plan
	attached   map[string]*attachment
	created    []string
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
	return &Interceptor{opts: o, plan: &steer.Plan{}, attached: map[string]*attachment{}}, nil
}

// Apply makes the plan what the kernel goes by; nil captures nothing. A datagram goes by the old rules or the new ones, never by a
// mixture. The programs are loaded with the first plan that has rules. An error before the rules are exchanged leaves the old
// ones in force; one about cgroups leaves the new ones in force where programs are attached.
func (i *Interceptor) Apply(plan *steer.Plan) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if plan == nil {
		plan = &steer.Plan{}
	}
	switch {
	case i.closed:
		return fmt.Errorf("apply plan for datagrams: %w", errClosed)
	case i.objects == nil && len(plan.Rules) == 0:
		return nil
	case i.objects == nil:
		if err := i.load(); err != nil {
			return fmt.Errorf("apply plan for datagrams: %w", err)
		}
	}
	if err := i.switchTo(plan); err != nil {
		return fmt.Errorf("apply plan for datagrams: %w", err)
	}
	if err := i.reattach(); err != nil {
		return fmt.Errorf("apply plan for datagrams: %w", err)
	}
	return nil
}

// load opens the capture sockets and loads the programs.
func (i *Interceptor) load() error {
	loaded, inner, err := loadObjects()
	if err != nil {
		return err
	}
	if i.port4, i.port6, err = i.opts.OpenCapture(); err != nil {
		return errors.Join(err, loaded.close())
	}
	i.life.Lock()
	i.objects, i.controlInner = loaded, inner
	i.life.Unlock()
	return nil
}

// switchTo puts a plan in force. Rules are rewritten under a new generation only when they differ.
func (i *Interceptor) switchTo(plan *steer.Plan) error {
	was, generation := i.plan, i.generation
	rewrite := i.generation == 0 || steer.Diff(was, plan).Rules()
	if rewrite {
		generation++
		if err := i.write(generation, plan); err != nil {
			i.erase(generation, plan)
			return err
		}
	}
	if err := i.swap(generation, plan); err != nil {
		if rewrite {
			i.erase(generation, plan)
		}
		return err
	}
	i.plan, i.generation = plan, generation
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

// swap fills a fresh control map and exchanges it for the present one; when it returns no program runs on that any more.
func (i *Interceptor) swap(generation uint32, plan *steer.Plan) error {
	inner, err := ebpf.NewMap(i.controlInner)
	if err != nil {
		return fmt.Errorf("create control map: %w", err)
	}
	defer inner.Close()
	control := i.control(generation, plan)
	if err := inner.Put(uint32(0), &control); err != nil {
		return fmt.Errorf("fill control map: %w", err)
	}
	if err := i.objects.Control.Put(uint32(0), inner); err != nil {
		return fmt.Errorf("swap control map: %w", err)
	}
	return nil
}

func (i *Interceptor) control(generation uint32, plan *steer.Plan) wireControl {
	c := wireControl{
		Generation: generation, ProxyMark: i.opts.ProxyMark, ProxyCgroup: i.opts.ProxyCgroup, Netns: i.opts.Netns, Port4: portOf(i.port4),
	}
	for n, port := range i.port6[:min(len(i.port6), slots)] {
		c.Port6[n] = portOf(port)
	}
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
	var failed []error
	for dir := range i.attached {
		failed = append(failed, i.detach(dir))
	}
	i.life.Lock()
	if i.objects != nil {
		failed = append(failed, i.objects.close())
		i.objects = nil
	}
	i.life.Unlock()
	for _, dir := range i.created {
		if err := i.opts.Hierarchy.Remove(dir); !errors.Is(err, syscall.EBUSY) { // whoever is in it stays
			failed = append(failed, err)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("stop capturing datagrams: %w", err)
	}
	return nil
}
