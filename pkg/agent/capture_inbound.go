package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/conn"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// lookInterval is how often listening sockets are compared with what is captured. What begins and ends in captured cgroups is known
// at once; this finds the end of what listened before, and processes outside that share a port.
const lookInterval = 2 * time.Second

// inboundCapture is the kernel half of what comes in. It loads nothing until a snapshot has an inbound listener to capture for. The
// capture sockets, in weir's own namespace and in others, get these connections, too.
type inboundCapture struct {
	log       *slog.Logger
	listeners *listener.Manager
	// persistence is that of connections that leave.
	persistence *persistence

	// ring is what decisions are told through.
	ring *events.Ring

	kernel atomic.Pointer[inbound.Inbound]
	// unavailable is why this host does not capture what comes in; set once.
	unavailable atomic.Pointer[error]
	// lacking is why the kernel did not take the rules of the last plan; nil when it did.
	lacking atomic.Pointer[captureFailure]
	// unnamed is why applications cannot be told the addresses of clients; nil when they can. lost counts connections that are made
	// from weir's address although they were to have another, which is logged once.
	unnamed atomic.Pointer[error]
	lost    atomic.Uint64
	// passing are weir's own connections to applications.
	passing sync.Map // of passage

	stop    chan struct{}
	looking sync.WaitGroup
	// unpinned tells that pins could not be made anew; lookOften's own.
	unpinned bool

	mu sync.Mutex
	// hierarchy, own and cookie are set with the kernel.
	hierarchy *cgroup.Hierarchy
	own       *netns.Namespace
	cookie    atomic.Uint64
	patterns  []string
	created   string // the default cgroup, when it was made here
	// rooms are the namespaces, beside weir's own, that are served.
	rooms map[*streaminfo.Namespace]*netns.Namespace

	// counted is what the statistics have been told of.
	counted reasonCounts
	// refused counts what the kernel decided in place of rbac filters.
	refused beforeCounts
}

var _ namespaceUser = (*inboundCapture)(nil)

func newInboundCapture(log *slog.Logger, p *persistence) *inboundCapture {
	return &inboundCapture{log: log, persistence: p, stop: make(chan struct{}), rooms: make(map[*streaminfo.Namespace]*netns.Namespace)}
}

// problem is why this host does not capture what comes in; nil when it does, or was not asked to.
func (c *inboundCapture) problem() error {
	if err := c.unavailable.Load(); err != nil {
		return *err
	}
	return nil
}

// view is inbound capture for the admin interface, a nil interface before there is any, and why not.
func (c *inboundCapture) view() (view.Inbound, error) {
	if k := c.kernel.Load(); k != nil {
		return k, nil
	}
	return nil, c.problem()
}

// apply captures what a plan asks for; nil releases everything. The capture sockets must be open.
func (c *inboundCapture) apply(plan *inbound.Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kernel.Load()
	if k == nil {
		if plan.Empty() || c.problem() != nil {
			return
		}
		var err error
		if k, err = c.load(); err != nil {
			c.unavailable.Store(&err)
			c.log.Error("what comes in is not captured; everything else works", "error", err)
			return
		}
	}
	c.lacking.Store(nil)
	if err := k.Apply(plan); err != nil && !c.cannotName(err) {
		c.lacking.Store(&captureFailure{err})
		c.log.Error("the kernel kept its earlier rules of inbound capture", "error", err)
	}
	c.patterns = k.Cgroups()
	c.attach(k)
	c.look(k)
}

// load loads the programs and begins with weir's own namespace and those that are served already.
func (c *inboundCapture) load() (*inbound.Inbound, error) {
	h, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	own, err := netns.Current()
	if err != nil {
		return nil, err
	}
	k, err := inbound.New(inbound.Options{Hierarchy: h, Pins: c.openPins(), KeepPins: c.persistence.stays(), Ring: c.ring})
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	if err := k.AddNamespace(own, c.sinks(nil)...); err != nil {
		return nil, errors.Join(err, k.Close(), own.Close())
	}
	for in, ns := range c.rooms {
		if err := k.AddNamespace(ns, c.sinks(in)...); err != nil {
			c.log.Warn("what comes in is not captured", "namespace", in.Name, "error", err)
		}
	}
	c.hierarchy, c.own = h, own
	c.cookie.Store(own.Cookie())
	c.kernel.Store(k)
	c.looking.Go(func() { c.lookOften(k) })
	c.looking.Go(func() { c.lookAtNews(k) })
	c.log.Info("inbound capture is on")
	return k, nil
}

// openPins opens the place of the pinned state; where there cannot be one, nothing is pinned.
func (c *inboundCapture) openPins() *pin.Store {
	if c.persistence.Persistence == model.PersistProcess {
		return nil
	}
	store, err := c.persistence.open(inboundState)
	if err != nil {
		c.log.Error("life_cycle.persistence has no effect on what comes in", "error", err)
		return nil
	}
	return store
}

// settle makes the pinned state this process's own, now that everything is attached.
func (c *inboundCapture) settle(ctx context.Context) {
	if k := c.kernel.Load(); k != nil {
		if err := k.Settle(ctx); err != nil {
			c.log.Error("take over the pinned state of inbound capture", "error", err)
		}
	}
}

// refusal is why the kernel does not go by the present rules; nil when it does.
func (c *inboundCapture) refusal() error {
	if f := c.lacking.Load(); f != nil {
		return f.error
	}
	return nil
}

func (c *inboundCapture) sinks(in *streaminfo.Namespace) []inbound.Sink {
	var sinks []inbound.Sink
	for _, l := range c.listeners.CaptureListeners(in) {
		if socket, ok := l.(*net.TCPListener); ok {
			sinks = append(sinks, inbound.Sink{Socket: syscall.Conn(socket), Addr: conn.AddrPort(l.Addr())})
		}
	}
	return sinks
}

// attach makes the attachments those that the patterns ask for. The caller holds mu.
func (c *inboundCapture) attach(k *inbound.Inbound) {
	dirs, _, created, err := c.hierarchy.ResolveWith(steer.DefaultCgroup, c.patterns)
	if created != "" {
		c.created = created
	}
	if err == nil {
		err = k.SetCgroups(dirs)
	}
	if err != nil && !c.cannotName(err) {
		c.log.Warn("capture what comes in for cgroups", "error", err)
	}
}

// cannotName remembers an error that is about the addresses of clients alone.
func (c *inboundCapture) cannotName(err error) bool {
	lost, ok := errors.AsType[*inbound.NamesError](err)
	if ok {
		err = lost
		c.unnamed.Store(&err)
		c.log.Warn("inbound capture", "error", err)
	}
	return ok
}

// refresh attaches to cgroups that have come.
func (c *inboundCapture) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kernel.Load(); k != nil {
		c.attach(k)
		c.look(k)
	}
}

func (c *inboundCapture) look(k *inbound.Inbound) {
	if err := k.Look(); err != nil {
		c.log.Warn("look for listening sockets", "error", err)
	}
}

func (c *inboundCapture) lookOften(k *inbound.Inbound) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			c.look(k)
			c.restorePins(k)
		}
	}
}

// restorePins pins again what somebody has removed while weir runs. A problem is told of when it begins.
func (c *inboundCapture) restorePins(k *inbound.Inbound) {
	missing, err := k.Restore()
	if missing > 0 {
		c.persistence.lost.Add(uint64(missing))
		c.log.Warn("somebody has removed pins of this weir for what comes in from the BPF file system; they were made anew", "pins", missing)
	}
	if err != nil && !c.unpinned {
		c.log.Error("what was to outlive this process for what comes in does not", "error", err)
	}
	c.unpinned = err != nil
}

func (c *inboundCapture) lookAtNews(k *inbound.Inbound) {
	for k.Await() == nil {
		c.look(k)
	}
}

// enter implements namespaceUser.
func (c *inboundCapture) enter(n *netns.Namespace, in *streaminfo.Namespace) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rooms[in] = n
	k := c.kernel.Load()
	if k == nil {
		return nil
	}
	if err := k.AddNamespace(n, c.sinks(in)...); err != nil {
		return fmt.Errorf("capture what comes in: %w", err)
	}
	return nil
}

// leave implements namespaceUser.
func (c *inboundCapture) leave(n *netns.Namespace, in *streaminfo.Namespace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rooms, in)
	if k := c.kernel.Load(); k != nil {
		if err := k.DropNamespace(n.Cookie()); err != nil {
			c.log.Warn("leave network namespace", "namespace", in.Name, "error", err)
		}
	}
}

// count brings weir.inbound.* up to date.
func (c *inboundCapture) count(root *stats.Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, lost := c.kernel.Load(), c.lost.Load()
	if k == nil && lost == 0 {
		return
	}
	err := c.counted.count(root.Scope("weir.inbound"), func() (map[string]uint64, error) {
		now := make(map[string]uint64)
		if k != nil {
			var err error
			if now, err = k.Counters(); err != nil {
				return nil, err
			}
		}
		now["source_lost"] = lost
		return now, nil
	})
	if err != nil || k == nil {
		return // it was closed, or there is no more to count
	}
	for _, p := range k.PolicyStats() {
		c.refused.countRules(root, &p)
	}
}

// close detaches everything. It may be called more than once.
func (c *inboundCapture) close() {
	k := c.kernel.Load()
	if k == nil {
		return
	}
	select {
	case <-c.stop:
		return
	default:
		close(c.stop)
	}
	err := k.Close()
	c.looking.Wait()
	err = errors.Join(err, c.own.Close())
	if c.created != "" {
		if failed := c.hierarchy.Remove(c.created); !errors.Is(failed, syscall.EBUSY) {
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		c.log.Warn("end inbound capture", "error", err)
	}
}
