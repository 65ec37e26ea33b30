package explain

import (
	"fmt"
	"os"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// Caller is who makes the connection.
type Caller struct {
	// Dir is the directory of its cgroup, Cgroup its name below the hierarchy's root, ID what the kernel knows it by.
	Dir, Cgroup string
	ID          uint64
	// OtherNetns tells that it is in another network namespace than this process: that of the process PID, 0 when it is not known.
	OtherNetns bool
	PID        int
}

// HostCaller finds a cgroup, or that of a process as this process sees pids. A cgroup alone says nothing about the network
// namespace, which is then taken to be this process's.
func HostCaller(name string, pid int) (Caller, error) {
	if name == "" && pid == 0 {
		return Caller{}, errNoCaller
	}
	h, err := cgroup.Find()
	if err != nil {
		return Caller{}, err
	}
	var c Caller
	if pid == 0 {
		c.Dir, err = h.Path(name)
	} else {
		c.Dir, err = h.Of(pid)
	}
	if err != nil {
		return Caller{}, err
	}
	if c.ID, err = cgroup.ID(c.Dir); err != nil {
		return Caller{}, fmt.Errorf("find cgroup: %w", err)
	}
	c.Cgroup = h.Name(c.Dir)
	if pid == 0 {
		return c, nil
	}
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return Caller{}, fmt.Errorf("find own network namespace: %w", err)
	}
	its, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return Caller{}, fmt.Errorf("find network namespace of process: %w", err)
	}
	if !os.SameFile(own, its) {
		c.OtherNetns, c.PID = true, pid
	}
	return c, nil
}

// in tells whether the caller is in a cgroup or below it.
func (c *Caller) in(dir string) bool {
	return c.Dir == dir || strings.HasPrefix(c.Dir, strings.TrimSuffix(dir, "/")+"/")
}
