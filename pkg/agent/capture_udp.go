package agent

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
)

// datagramRefresh is how often cgroup globs are resolved again for datagrams.
const datagramRefresh = 2 * time.Second

// datagramCapture is the kernel half for datagrams. It loads nothing until a snapshot has something to do with them. Its methods but
// OriginalDst, refresh and count are called with Agent.mu held, or when nothing else runs.
type datagramCapture struct {
	log *slog.Logger
	udp *udp.Manager
	// wanted is a snapshot without the listeners that were retired.
	wanted func(*model.Snapshot) *model.Snapshot

	kernel  atomic.Pointer[datagram.Interceptor]
	failure error
	retired bool
	stop    chan struct{}
	running sync.WaitGroup
	// counted is what the statistics have been told of.
	counted map[string]uint64
}

func newDatagramCapture(log *slog.Logger, wanted func(*model.Snapshot) *model.Snapshot) *datagramCapture {
	return &datagramCapture{log: log, wanted: wanted, stop: make(chan struct{}), counted: map[string]uint64{}}
}

// OriginalDst is where a captured datagram was going.
func (c *datagramCapture) OriginalDst(client, local netip.AddrPort) (netip.AddrPort, bool) {
	k := c.kernel.Load()
	if k == nil {
		return netip.AddrPort{}, false
	}
	return k.OriginalDst(client, local)
}

// begin captures for the first snapshot. The error is fatal: the configuration requires what this host does not allow.
func (c *datagramCapture) begin(snap *model.Snapshot) error {
	c.apply(snap)
	if i := snap.Interception; i != nil && i.Required {
		return c.failure
	}
	return nil
}

// shrink stops capturing for listeners that the next snapshot has not, before they close.
func (c *datagramCapture) shrink(now, next *model.Snapshot) {
	if c.kernel.Load() == nil || now == nil || c.retired {
		return
	}
	both := *next
	for name, l := range next.Listeners.Changes(now.Listeners) {
		if l.Old == nil {
			both.Listeners = both.Listeners.Without(name)
		}
	}
	plan, _ := steer.CompileUDP(c.wanted(&both))
	c.install(plan)
}

// apply captures what a snapshot asks for.
func (c *datagramCapture) apply(snap *model.Snapshot) {
	if c.retired {
		return
	}
	plan, notices := steer.CompileUDP(c.wanted(snap))
	for _, n := range notices {
		c.log.Warn("interception: " + n.String())
	}
	if c.kernel.Load() == nil {
		if len(plan.Rules) == 0 || plan.Disabled || c.failure != nil {
			return
		}
		if c.failure = c.load(plan.Cgroups); c.failure != nil {
			c.log.Error("datagrams are not captured; everything else works", "error", c.failure)
			return
		}
	}
	c.install(plan)
}

// load makes the interceptor for the processes of cgroups.
func (c *datagramCapture) load(cgroups []string) error {
	o := datagram.Options{ProxyMark: sock.DefaultMark, OpenCapture: func() (uint16, []uint16, error) {
		at, err := c.udp.OpenCapture()
		return at.IPv4, at.IPv6, err
	}}
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	if o.Hierarchy = h; !chosen(h, cgroups) {
		o.ProxyCgroup = h.OwnID()
	}
	k, err := datagram.New(o)
	if err != nil {
		return err
	}
	c.kernel.Store(k)
	c.running.Go(c.refresh)
	return nil
}

func (c *datagramCapture) install(plan *steer.Plan) {
	if err := c.kernel.Load().Apply(plan); err != nil {
		c.failure = err
		c.log.Error("the kernel kept its earlier rules for datagrams", "error", err)
	}
}

// refresh attaches to cgroups that have come.
func (c *datagramCapture) refresh() {
	tick := time.NewTicker(datagramRefresh)
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

// retire stops capturing for good.
func (c *datagramCapture) retire() {
	c.retired = true
	if c.kernel.Load() != nil {
		c.install(nil)
	}
}

// count brings weir.interception.udp.* up to date.
func (c *datagramCapture) count(root *stats.Scope) {
	k := c.kernel.Load()
	if k == nil {
		return
	}
	now, err := k.Counters()
	if err != nil {
		c.log.Warn("read counters", "error", err)
		return
	}
	for reason, n := range now {
		root.Counter("weir.interception.udp." + reason).Add(n - c.counted[reason])
		c.counted[reason] = n
	}
}

// close detaches everything. It may be called more than once.
func (c *datagramCapture) close() {
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
	c.running.Wait()
	if err := k.Close(); err != nil {
		c.log.Warn("detach from the kernel", "error", err)
	}
}
