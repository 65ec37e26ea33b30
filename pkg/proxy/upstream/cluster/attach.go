package cluster

import "io"

// Attach returns what create returned when it was called first: something that is made of the cluster's configuration and
// lives as long, such as the filters in front of its hosts. It is closed, when it is an io.Closer, once the cluster is
// replaced or removed; whoever holds it then may go on using it.
func (c *Cluster) Attach(create func() any) any {
	if v := c.attached.Load(); v != nil {
		return *v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.attached.Load(); v != nil {
		return *v
	}
	v := create()
	c.attached.Store(&v)
	return v
}

// detach closes what was attached so far, the first time that it is called.
func (c *Cluster) detach() {
	v := c.attached.Load()
	if v == nil || c.detached.Swap(true) {
		return
	}
	closer, ok := (*v).(io.Closer)
	if !ok {
		return
	}
	if err := closer.Close(); err != nil {
		c.manager.opt.Log.Warn("close what belongs to a cluster", "cluster", c.cfg.Name, "error", err)
	}
}
