package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/agent/decisions"
	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// capture is the kernel half as the rest of the agent sees it. It loads nothing until a snapshot has something to capture. Its
// methods but OriginalDst are called with Agent.mu held, or when nothing else runs.
type capture struct {
	log       *slog.Logger
	listeners *listener.Manager
	// ownMark is the SO_MARK of weir's own sockets.
	ownMark uint32
	// services keep the kernel's rules and services what configuration and hosts ask for.
	services *services

	kernel atomic.Pointer[intercept.Interceptor]
	// unavailable is why this host does not intercept; set once.
	unavailable atomic.Pointer[error]
	// retired is set once the listeners were drained, inboundRetired once the inbound ones were.
	retired, inboundRetired bool
	persistence             persistence
	closed                  bool
	namespaces              namespaces
	home                    ownNamespace
	inbound                 *inboundCapture
	// datagrams are captured in the same namespaces.
	datagrams *datagramCapture
	// decisions are told to whoever wants to know, through ring, which is made with the kernel.
	decisions *decisions.Hub
	ring      *events.Ring
	record    *model.Events
	// reasons are what the statistics have been told of.
	reasons reasonCounts
	// callers are the cgroups of connections, for access logs; callerNames asks them.
	callers     *owners.Names
	callerNames func(id uint64) (name, container string)
	// late counts what strangers tell of first.
	late *stats.Counter
	// strangers tell of captured processes in namespaces that nobody has noticed.
	strangers *intercept.Strangers
	// followed is what namespaces are looked for in.
	followed struct{ cgroups, paths []string }
}

func newCapture(log *slog.Logger, i *model.Interception) *capture {
	c := &capture{log: log, ownMark: markOf(i), callers: owners.NewNames()}
	c.callerNames = c.callers.Of
	c.inbound = newInboundCapture(log, &c.persistence)
	c.home.log = log
	c.namespaces.log, c.namespaces.users = log, []namespaceUser{c, c.inbound}
	return c
}

// markOf is the SO_MARK of weir's own sockets; i may be nil.
func markOf(i *model.Interception) uint32 {
	if i == nil || i.Mark == 0 {
		return sock.DefaultMark
	}
	return i.Mark
}

// mark is the SO_MARK of weir's own sockets.
func (c *capture) mark() uint32 { return c.ownMark }

// OriginalDst implements listener.OriginalDst.
func (c *capture) OriginalDst(netns uint64, client, server netip.AddrPort) (dst netip.AddrPort, caller streaminfo.Cgroup, ok bool) {
	k := c.kernel.Load()
	if k == nil {
		return dst, caller, false
	}
	flow, ok := k.OriginalDst(netns, client, server)
	c.callers.Note(flow.Cgroup)
	return flow.Dst, streaminfo.Cgroup{ID: flow.Cgroup, Names: c.callerNames}, ok
}

// view is the interceptor for the admin interface, nil before there is one.
func (c *capture) view() view.Interceptor {
	if k := c.kernel.Load(); k != nil {
		return k
	}
	return nil
}

// begin captures for the first snapshot. The error is fatal: the configuration requires what this host does not allow.
func (c *capture) begin(snap *model.Snapshot) error {
	c.persistence.LifeCycle = lifeCycleOf(snap)
	c.apply(snap)
	if err := c.settlePersistence(required(snap)); err != nil {
		return err
	}
	if required(snap) {
		return errors.Join(c.problem(), c.shut(), c.services.problem(), c.inbound.refusal())
	}
	return nil
}

// required tells whether weir is to end where it cannot intercept.
func required(snap *model.Snapshot) bool {
	return snap.Interception != nil && snap.Interception.Required
}

// problem is why this host does not intercept; nil when it does, or was not asked to.
func (c *capture) problem() error {
	if err := c.unavailable.Load(); err != nil {
		return *err
	}
	return c.inbound.problem()
}

// shrink stops capturing for listeners that the next snapshot has not, before they close.
func (c *capture) shrink(now, next *model.Snapshot) {
	if c.kernel.Load() == nil || now == nil || c.retired {
		return
	}
	now, next = c.wanted(now), c.wanted(next)
	both := *next
	for name, l := range next.Listeners.Changes(now.Listeners) {
		if l.Old == nil {
			both.Listeners = both.Listeners.Without(name)
		}
	}
	c.services.snapshot(&both)
	c.services.settle()
	c.inbound.apply(inbound.Compile(&both))
}

// apply captures what a snapshot asks for.
func (c *capture) apply(snap *model.Snapshot) {
	if c.retired {
		return
	}
	plan, notices := c.services.snapshot(c.wanted(snap))
	for _, n := range notices {
		c.log.Warn("interception: " + n.String())
	}
	coming := inbound.Compile(c.wanted(snap))
	k := c.kernel.Load()
	if k == nil {
		if (len(plan.Rules) == 0 || plan.Disabled) && coming.Empty() && len(c.datagrams.cgroups(snap)) == 0 || c.problem() != nil {
			return
		}
		var err error
		if k, err = c.load(plan.Cgroups); err != nil {
			c.unavailable.Store(&err)
			if !c.persistence.settled && (required(snap) || c.persistence.fatal(false) != nil) {
				return // begin tells, and weir ends
			}
			c.log.Error("interception is off; everything else works", "error", err)
			return
		}
		c.services.start(k)
	}
	c.follow(slices.Concat(plan.Cgroups, c.datagrams.cgroups(snap)), snap.Interception)
	c.services.settle()
	c.inbound.apply(coming)
}

// learn follows a snapshot whose listeners are those of the one before.
func (c *capture) learn(snap *model.Snapshot) {
	if c.kernel.Load() == nil || c.retired {
		return
	}
	c.services.snapshot(c.wanted(snap))
	c.services.settle()
}

// loadWith is load with a ring, which is closed when there is an error.
func (c *capture) loadWith(ring *events.Ring, cgroups []string) (*intercept.Interceptor, error) {
	o := intercept.Options{ProxyMark: c.mark(), Ring: ring}
	h, found := cgroup.Find() // without one, the interceptor says what is missing
	if found == nil && !chosen(h, cgroups) {
		o.ProxyCgroup = h.OwnID()
	}
	if err := c.persist(&o); err != nil {
		return nil, err
	}
	k, err := intercept.New(o)
	if err != nil {
		return nil, err
	}
	c.home.begin(func() error { return c.serveOwn(k) })
	if err := errors.Join(found, c.namespaces.watch(h, c.refresh)); err != nil {
		c.home.close()
		return nil, errors.Join(err, k.Close())
	}
	if c.strangers, err = k.Strangers(c.noticed); err != nil {
		c.home.close()
		c.namespaces.close()
		return nil, errors.Join(err, k.Close())
	}
	c.kernel.Store(k)
	if err := c.decisions.Attach(func(told func(*events.Event)) (decisions.Stream, error) { return ring.Listen(told) }, c.record); err != nil {
		c.log.Warn("decisions are not recorded", "error", err)
	}
	c.log.Info("interception is on", "capture", fmt.Sprint(c.ownSockets()))
	return k, nil
}

// ownSockets are the addresses of the capture sockets in weir's own namespace, that for IPv4 first.
func (c *capture) ownSockets() []netip.AddrPort {
	v4, v6 := c.listeners.CaptureAddrs()
	return slices.DeleteFunc([]netip.AddrPort{v4, v6}, func(a netip.AddrPort) bool { return !a.IsValid() })
}

// chosen tells whether weir's own cgroup is itself one of those captured. The cgroup does not stand for weir then, since the
// applications that were meant may come into it later; the mark excludes weir's connections in any case.
func chosen(h *cgroup.Hierarchy, cgroups []string) bool {
	own, err := h.Of(0)
	if err != nil {
		return false
	}
	dirs, _, err := h.Resolve(cgroups)
	return err == nil && slices.Contains(dirs, own)
}

func (c *capture) install(k *intercept.Interceptor, plan *steer.Plan) {
	if err := k.Apply(plan); err != nil {
		c.log.Error("the kernel kept its earlier rules", "error", err)
	}
}

// refresh attaches to cgroups that have come.
func (c *capture) refresh() {
	if err := c.kernel.Load().Refresh(); err != nil {
		c.log.Warn("look for cgroups", "error", err)
	}
	c.inbound.refresh()
}

// follow looks for the network namespaces that cgroups live in, and opens capture sockets there.
func (c *capture) follow(cgroups []string, i *model.Interception) {
	slices.Sort(cgroups)
	cgroups = slices.Compact(cgroups)
	var n model.Namespaces
	if i != nil {
		n = i.Namespaces
	}
	if slices.Equal(c.followed.cgroups, cgroups) && slices.Equal(c.followed.paths, n.Paths) {
		return
	}
	c.followed.cgroups, c.followed.paths = cgroups, n.Paths
	c.namespaces.hostUpstream.Store(n.HostUpstream)
	c.namespaces.ownOnly.Store(n.OwnOnly)
	c.namespaces.census.Follow(cgroups, n.Paths)
}

// enter implements namespaceUser.
func (c *capture) enter(n *netns.Namespace, in *streaminfo.Namespace) error {
	addrs, err := c.listeners.OpenCaptureIn(in)
	if len(addrs) == 0 {
		return err
	}
	return errors.Join(c.kernel.Load().SetCapture(n.Cookie(), addrs...), err)
}

// leave implements namespaceUser.
func (c *capture) leave(n *netns.Namespace, in *streaminfo.Namespace) {
	if err := c.kernel.Load().ClearCapture(n.Cookie()); err != nil {
		c.log.Warn("leave network namespace", "error", err)
	}
	c.listeners.CloseCaptureIn(in)
}

// release stops capturing; connections that were captured already still learn where they were going.
func (c *capture) release() {
	c.inbound.apply(nil)
	if k := c.kernel.Load(); k != nil {
		c.services.release(func() { c.install(k, nil) })
	}
}

// retire stops capturing for good: the listeners are drained, and updates do not bring them back.
func (c *capture) retire() {
	c.retired = true
	c.release()
}

// retireInbound stops capturing for inbound listeners for good; snap is the snapshot in force, nil before the first.
func (c *capture) retireInbound(snap *model.Snapshot) {
	c.inboundRetired = true
	if snap != nil && c.kernel.Load() != nil {
		c.apply(snap)
	}
}

// wanted is a snapshot without the listeners that were retired.
func (c *capture) wanted(snap *model.Snapshot) *model.Snapshot {
	if !c.inboundRetired {
		return snap
	}
	out := *snap
	for name, l := range snap.Listeners.All() {
		if l.TrafficDirection == model.TrafficInbound {
			out.Listeners = out.Listeners.Without(name)
		}
	}
	return &out
}

// close detaches everything. It may be called more than once.
func (c *capture) close() {
	k := c.kernel.Load()
	if k == nil || c.closed {
		return
	}
	c.closed = true
	if err := errors.Join(c.decisions.Close(), c.strangers.Close()); err != nil {
		c.log.Warn("detach from the kernel", "error", err)
	}
	c.home.close()
	c.inbound.close() // before the namespaces are left, which would end what is to stay
	c.namespaces.close()
	c.services.close()
	if err := errors.Join(k.Close(), c.ring.Close()); err != nil {
		c.log.Warn("detach from the kernel", "error", err)
	}
}
