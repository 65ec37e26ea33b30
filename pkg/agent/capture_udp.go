package agent

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/sock"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
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
	// mark is the SO_MARK of weir's own sockets.
	mark uint32
	// persistence is that of connections.
	persistence *persistence
	// ring is what decisions are told through; nil where interception is not available.
	ring *events.Ring
	// netns is the cookie of weir's own network namespace, set before there is a kernel.
	netns uint64
	// begun is set when capturing has begun.
	begun bool

	kernel  atomic.Pointer[datagram.Interceptor]
	failure atomic.Pointer[captureFailure]
	retired bool
	// unpinned is set while what somebody has removed of the pins cannot be made anew; it is the refreshing goroutine's.
	unpinned bool
	stop     chan struct{}
	running  sync.WaitGroup
	// seen are the listeners that were looked at last, ofDatagrams those of datagrams among them.
	seen, ofDatagrams model.Set[*model.Listener]
	// counted is what the statistics have been told of.
	counted reasonCounts

	// mu guards within: the network namespaces that are served, nil for weir's own, and what of them is.
	mu     sync.Mutex
	within map[*streaminfo.Namespace]reach
}

// reach is which datagrams of a network namespace are captured.
type reach struct {
	// some are, and all are: there are capture sockets, and those of both address families.
	some, all bool
	// late tells that nobody else tries again: it was entered before there was something to capture.
	late bool
}

// captureFailure is why something is not as it was asked for.
type captureFailure struct{ error }

// fail keeps why datagrams are not captured as they should be; nil when they are.
func (c *datagramCapture) fail(err error) {
	if err == nil {
		c.failure.Store(nil)
		return
	}
	c.failure.Store(&captureFailure{err})
}

// problem is what fail was told last.
func (c *datagramCapture) problem() error {
	if f := c.failure.Load(); f != nil {
		return f.error
	}
	return nil
}

// view gives the interceptor in use, and what is wrong.
func (c *datagramCapture) view() (view.Datagrams, error) {
	if k := c.kernel.Load(); k != nil {
		return k, c.problem()
	}
	return nil, c.problem()
}

func newDatagramCapture(log *slog.Logger, wanted func(*model.Snapshot) *model.Snapshot, mark uint32, p *persistence) *datagramCapture {
	return &datagramCapture{
		log: log, wanted: wanted, mark: mark, persistence: p, stop: make(chan struct{}), within: map[*streaminfo.Namespace]reach{},
	}
}

// OriginalDst is where a captured datagram was going. Where the client's socket has to be found for it, that is done on a thread in
// its network namespace.
func (c *datagramCapture) OriginalDst(in *streaminfo.Namespace, client, local netip.AddrPort) (dst netip.AddrPort, ok bool) {
	k := c.kernel.Load()
	switch {
	case k == nil:
		return netip.AddrPort{}, false
	case in == nil:
		return k.OriginalDst(0, client, local)
	case local.Addr().Is4():
		return k.OriginalDst(in.Cookie, client, local)
	}
	err := in.Inside(func() error { dst, ok = k.OriginalDst(in.Cookie, client, local); return nil })
	return dst, ok && err == nil
}

// enter implements namespaceUser: a namespace is remembered until there is something to capture.
func (c *datagramCapture) enter(_ *netns.Namespace, in *streaminfo.Namespace) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.within[in]; !known {
		c.within[in] = reach{}
	}
	return c.serve(in)
}

// leave implements namespaceUser.
func (c *datagramCapture) leave(_ *netns.Namespace, in *streaminfo.Namespace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kernel.Load(); k != nil && c.within[in].some {
		k.ClearCapture(in.Cookie)
	}
	c.udp.CloseCapture(in)
	delete(c.within, in)
}

// serve opens the capture sockets of a namespace that was entered which are not open yet, once there is something to capture. The caller
// holds mu.
func (c *datagramCapture) serve(in *streaminfo.Namespace) error {
	k, has := c.kernel.Load(), c.within[in]
	if has.all || k == nil || !k.Loaded() {
		return nil
	}
	at, err := c.udp.OpenCapture(in)
	if at.IPv4 == 0 {
		return err
	}
	if !has.some || err == nil {
		cookie := c.netns
		if in != nil {
			cookie = in.Cookie
		}
		if failed := k.SetCapture(cookie, datagram.Ports(at)); failed != nil {
			return failed
		}
	}
	has.some, has.all = true, err == nil
	c.within[in] = has
	return err
}

// openOwn opens the capture sockets of weir's own namespace. What there is none of yet is left to serveLate.
func (c *datagramCapture) openOwn() (datagram.Ports, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.udp.OpenCapture(nil)
	if at.IPv4 == 0 {
		return datagram.Ports{}, err
	}
	c.within[nil] = reach{some: true, all: err == nil, late: true}
	return datagram.Ports(at), nil
}

// serveLate tries again in namespaces that could not be wholly served when there was something to capture for the first time.
func (c *datagramCapture) serveLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for in, has := range c.within {
		if has.late && !has.all {
			_ = c.serve(in) // install has told why
		}
	}
}

// narrow is a snapshot with what concerns datagrams alone. It costs as much as has changed since it was asked last.
func (c *datagramCapture) narrow(snap *model.Snapshot) *model.Snapshot {
	for name, l := range snap.Listeners.Changes(c.seen) {
		switch {
		case l.New != nil && l.New.UDP != nil:
			c.ofDatagrams = c.ofDatagrams.With(name, l.New)
		case l.Old != nil && l.Old.UDP != nil:
			c.ofDatagrams = c.ofDatagrams.Without(name)
		}
	}
	c.seen = snap.Listeners
	return c.wanted(&model.Snapshot{Listeners: c.ofDatagrams, Interception: snap.Interception})
}

// begin captures for the first snapshot. The error is fatal: the configuration requires what this host does not allow.
func (c *datagramCapture) begin(snap *model.Snapshot) error {
	c.apply(snap)
	c.begun = true
	if k := c.kernel.Load(); k != nil {
		if err := k.Activate(); err != nil {
			c.fail(err)
			c.log.Error("datagrams are not captured everywhere", "error", err)
		}
	}
	if i := snap.Interception; i != nil && i.Required {
		return c.problem()
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
	plan, _ := steer.CompileUDP(c.narrow(&both))
	c.install(plan)
}

// apply captures what a snapshot asks for.
func (c *datagramCapture) apply(snap *model.Snapshot) {
	if c.retired {
		return
	}
	plan, notices := steer.CompileUDP(c.narrow(snap))
	for _, n := range notices {
		c.log.Warn("interception: " + n.String())
	}
	if c.kernel.Load() == nil {
		if len(plan.Rules) == 0 || plan.Disabled || c.problem() != nil {
			return
		}
		err := c.load(plan.Cgroups)
		if c.fail(err); err != nil {
			c.log.Error("datagrams are not captured; everything else works", "error", err)
			return
		}
	}
	c.install(plan)
}

// load makes the interceptor for the processes of cgroups.
func (c *datagramCapture) load(cgroups []string) error {
	o := datagram.Options{
		ProxyMark: c.mark, Deferred: !c.begun, KeepPins: c.persistence.stays(), Notice: func(text string) { c.log.Warn(text) }, Ring: c.ring,
		OpenCapture: c.openOwn,
	}
	if c.persistence.Persistence != model.PersistProcess {
		o.OpenPins = c.openPins
	}
	h, err := cgroup.Find()
	if err != nil {
		return err
	}
	if c.netns, err = sock.NetnsCookie(); err != nil {
		return err
	}
	o.Netns = c.netns
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

// openPins opens the place of the pinned state; where there cannot be one, nothing is pinned.
func (c *datagramCapture) openPins() (*pin.Store, error) {
	store, err := c.persistence.open(datagramState)
	if err != nil {
		c.log.Error("life_cycle.persistence has no effect on datagrams", "error", err)
		return nil, nil
	}
	return store, nil
}

func (c *datagramCapture) install(plan *steer.Plan) {
	k := c.kernel.Load()
	err := k.Apply(plan)
	switch c.fail(err); {
	case err == nil:
	case k.Loaded():
		c.log.Error("the kernel kept its earlier rules for datagrams", "error", err)
	default:
		c.log.Error("datagrams are not captured", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for in, has := range c.within {
		if has.some {
			continue
		}
		err := c.serve(in)
		has = c.within[in]
		has.late = true
		c.within[in] = has
		if err != nil {
			c.log.Warn("datagrams of a network namespace are not all captured", "namespace", in.Name, "error", err)
		}
	}
}

// cgroups are those that datagrams are captured of; none while nothing happens to datagrams.
func (c *datagramCapture) cgroups(snap *model.Snapshot) []string {
	plan, _ := steer.CompileUDP(c.narrow(snap))
	if plan.Disabled {
		return nil
	}
	return plan.Cgroups
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
			c.restorePins()
			c.serveLate()
		}
	}
}

// restorePins pins again what somebody has removed while weir runs. A problem is told of when it begins.
func (c *datagramCapture) restorePins() {
	missing, err := c.kernel.Load().Restore()
	if missing > 0 {
		c.persistence.lost.Add(uint64(missing))
		c.log.Warn("somebody has removed pins of this weir for datagrams from the BPF file system; they were made anew", "pins", missing)
	}
	if err != nil && !c.unpinned {
		c.log.Error("what was to outlive this process for datagrams does not", "error", err)
	}
	c.unpinned = err != nil
}

// ending stops capturing because the process ends, unless the fail policy is to hold without it. Exchanges under way go on until close.
func (c *datagramCapture) ending() {
	c.retired = true
	k := c.kernel.Load()
	if k == nil || c.persistence.stays() {
		return
	}
	if err := k.Retire(); err != nil {
		c.log.Error("datagrams are still captured", "error", err)
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
	if err := c.counted.count(root.Scope("weir.interception.udp"), k.Counters); err != nil {
		c.log.Warn("read counters", "error", err)
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
