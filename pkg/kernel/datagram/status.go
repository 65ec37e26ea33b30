package datagram

import (
	"fmt"
	"maps"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// Status is what is loaded, attached and in force.
type Status struct {
	// Loaded tells that there was something to do with datagrams. Nothing else is set before that.
	Loaded bool
	// Generation of the rules in force.
	Generation uint32
	// Plan in force. It must not be written to.
	Plan *steer.Plan
	// Capture sockets by the cookies of their network namespaces; Netns is that of the proxy.
	Capture map[uint64]Ports
	Netns   uint64
	// Cgroups that programs are attached to, sorted by directory.
	Cgroups []attach.CgroupStatus
}

// Status asks the kernel what is attached. Cgroups that have been deleted meanwhile are left out.
func (i *Interceptor) Status() (Status, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return Status{}, fmt.Errorf("read status of datagrams: %w", errClosed)
	}
	if i.objects == nil {
		return Status{}, nil
	}
	status := Status{Loaded: true, Generation: i.generation, Plan: i.plan, Netns: i.opts.Netns}
	i.life.RLock()
	status.Capture = maps.Clone(i.ports)
	i.life.RUnlock()
	var err error
	if status.Cgroups, err = i.cgroups.Status(); err != nil {
		return Status{}, fmt.Errorf("read status of datagrams: %w", err)
	}
	return status, nil
}
