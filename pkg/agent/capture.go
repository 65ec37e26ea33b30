package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/proxy/listener"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
)

// refreshInterval is how often cgroup globs are resolved again: a new container is captured this soon.
const refreshInterval = 2 * time.Second

// capture is the kernel half as the rest of the agent sees it. It loads nothing until a snapshot has something to capture. Its
// methods but OriginalDst are called with Agent.mu held, or when nothing else runs.
type capture struct {
	log       *slog.Logger
	listeners *listener.Manager
	udp       *udp.Manager

	kernel atomic.Pointer[intercept.Interceptor]
	// unavailable is why this host does not intercept; set once.
	unavailable atomic.Pointer[error]
	// retired is set once the listeners were drained, inboundRetired once the inbound ones were.
	retired, inboundRetired bool
	persistence             persistence
	stop                    chan struct{}
	refreshing              sync.WaitGroup
}

func newCapture(log *slog.Logger) *capture { return &capture{log: log, stop: make(chan struct{})} }

// mark is the SO_MARK of weir's own connections.
func (c *capture) mark() uint32 { return sock.DefaultMark }

// OriginalDst implements listener.OriginalDst.
func (c *capture) OriginalDst(netns uint64, client, server netip.AddrPort) (netip.AddrPort, bool) {
	k := c.kernel.Load()
	if k == nil {
		return netip.AddrPort{}, false
	}
	flow, ok := k.OriginalDst(netns, client, server)
	return flow.Dst, ok
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
	required := snap.Interception != nil && snap.Interception.Required
	if err := c.settlePersistence(required); err != nil {
		return err
	}
	if required {
		return c.problem()
	}
	return nil
}

// problem is why this host does not intercept; nil when it does, or was not asked to.
func (c *capture) problem() error {
	if err := c.unavailable.Load(); err != nil {
		return *err
	}
	return nil
}

// shrink stops capturing for listeners that the next snapshot has not, before they close.
func (c *capture) shrink(now, next *model.Snapshot) {
	k := c.kernel.Load()
	if k == nil || now == nil || c.retired {
		return
	}
	now, next = c.wanted(now), c.wanted(next)
	both := *next
	for name, l := range next.Listeners.Changes(now.Listeners) {
		if l.Old == nil {
			both.Listeners = both.Listeners.Without(name)
		}
	}
	from, _ := steer.Compile(now)
	to, _ := steer.Compile(&both)
	if !steer.Diff(from, to).Empty() {
		c.install(k, to)
	}
}

// apply captures what a snapshot asks for.
func (c *capture) apply(snap *model.Snapshot) {
	if c.retired {
		return
	}
	plan, notices := steer.Compile(c.wanted(snap))
	for _, n := range notices {
		c.log.Warn("interception: " + n.String())
	}
	k := c.kernel.Load()
	if k == nil {
		if len(plan.Rules) == 0 || plan.Disabled || c.problem() != nil {
			return
		}
		var err error
		if k, err = c.load(plan.Cgroups); err != nil {
			c.unavailable.Store(&err)
			c.log.Error("interception is off; everything else works", "error", err)
			return
		}
	}
	c.install(k, plan)
}

// load opens the capture sockets and loads the programs, for the connections of cgroups.
func (c *capture) load(cgroups []string) (*intercept.Interceptor, error) {
	o := intercept.Options{ProxyMark: c.mark()}
	if h, err := cgroup.Find(); err == nil && !chosen(h, cgroups) {
		o.ProxyCgroup = h.OwnID()
	}
	if err := c.persist(&o); err != nil {
		return nil, err
	}
	k, err := intercept.New(o)
	if err != nil {
		return nil, err
	}
	if err := c.listeners.OpenCapture(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	v4, v6 := c.listeners.CaptureAddrs()
	var addrs []netip.AddrPort
	for _, a := range []netip.AddrPort{v4, v6} {
		if a.IsValid() {
			addrs = append(addrs, a)
		}
	}
	if err := k.SetCapture(0, addrs...); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	c.kernel.Store(k)
	c.log.Info("interception is on", "capture", fmt.Sprint(addrs))
	c.refreshing.Go(c.refresh)
	return k, nil
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

// refresh follows cgroups that come and go.
func (c *capture) refresh() {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			if err := c.kernel.Load().Refresh(); err != nil {
				c.log.Warn("look for cgroups", "error", err)
			}
		}
	}
}

// release stops capturing; connections that were captured already still learn where they were going.
func (c *capture) release() {
	if k := c.kernel.Load(); k != nil {
		c.install(k, nil)
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
	if k == nil {
		return
	}
	select {
	case <-c.stop:
		return
	default:
		close(c.stop)
	}
	c.refreshing.Wait()
	if err := k.Close(); err != nil {
		c.log.Warn("detach from the kernel", "error", err)
	}
}
