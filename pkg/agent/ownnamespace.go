package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

// ownNamespace is weir's own network namespace, where capture sockets are missing as long as the loopback device does not allow them:
// a weir that starts before the device is up, or before it has an IPv6 address, has them once it is and does.
type ownNamespace struct {
	log *slog.Logger

	mu sync.Mutex
	// serve opens what is not open yet and tells what is missing; set by begin.
	serve   func() error
	missing error
	changes *netns.Changes // nil when nothing was missing at first
}

// begin serves the namespace, and as soon as its addresses allow more, serves it again. It runs on a thread in it.
func (o *ownNamespace) begin(serve func() error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.serve = serve
	if o.missing = serve(); o.missing == nil {
		return
	}
	o.log.Warn("not all connections are captured until the loopback device allows it; the fail policy decides meanwhile", "error", o.missing)
	var err error
	if o.changes, err = netns.WatchAddresses(o.again); err != nil {
		o.log.Warn("nobody will tell when the loopback device allows more", "error", err)
		return
	}
	o.missing = serve() // what has changed before the watch began
}

// again tries once more what did not succeed.
func (o *ownNamespace) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.missing == nil {
		return
	}
	if o.missing = o.serve(); o.missing == nil {
		o.log.Info("all connections are captured now, as the loopback device allows it")
	}
}

// problem is what is missing; nil when nothing is.
func (o *ownNamespace) problem() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.missing
}

// close ends the attempts. It may be called when begin was not.
func (o *ownNamespace) close() {
	o.mu.Lock()
	changes := o.changes
	o.mu.Unlock()
	if changes == nil {
		return
	}
	if err := changes.Close(); err != nil {
		o.log.Warn("stop watching addresses", "error", err)
	}
}

// serveOwn opens the capture sockets of weir's own namespace that are not open yet, and tells the kernel.
func (c *capture) serveOwn(k *intercept.Interceptor) error {
	missing := c.listeners.OpenCapture()
	return errors.Join(missing, k.SetCapture(0, c.ownSockets()...), c.inbound.enterOwn())
}

// shut is why no connection at all is captured in weir's own namespace; nil when those of one address family are.
func (c *capture) shut() error {
	if c.kernel.Load() == nil || len(c.ownSockets()) > 0 {
		return nil
	}
	return c.home.problem()
}

// enterOwn captures with all sockets that weir's own namespace has now.
func (c *inboundCapture) enterOwn() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kernel.Load()
	if k == nil {
		return nil
	}
	if err := k.AddNamespace(c.own, c.sinks(nil)...); err != nil {
		return fmt.Errorf("capture what comes in: %w", err)
	}
	return nil
}
