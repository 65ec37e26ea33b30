package explain

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

// Caller is who makes the connection.
type Caller struct {
	// Text says in words who it is, when a source was given.
	Text string
	// Dir is the directory of its cgroup, Cgroup its name below the hierarchy's root, ID what the kernel knows it by. They are
	// empty when only its place in the network is known.
	Dir, Cgroup string
	ID          uint64
	// OtherNetns tells that it is in another network namespace than this process: that of the process PID, 0 when it is not known.
	// Netns is the namespace's file, NetnsName what people call it.
	OtherNetns       bool
	PID              int
	Netns, NetnsName string
	// Addr is the address that stands for it, if one does. Remote tells that it is on another host.
	Addr   netip.Addr
	Remote bool
	// Note says what was assumed, if anything.
	Note string
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
		c.OtherNetns, c.PID, c.Netns = true, pid, fmt.Sprintf("/proc/%d/ns/net", pid)
		if id, err := netns.OfProcessID(pid); err == nil {
			c.NetnsName = fmt.Sprintf("net:[%d]", id.Inode)
		}
	}
	return c, nil
}

// in tells whether the caller is in a cgroup or below it.
func (c *Caller) in(dir string) bool {
	return c.Dir != "" && (c.Dir == dir || strings.HasPrefix(c.Dir, strings.TrimSuffix(dir, "/")+"/"))
}

// cookie is that of the caller's network namespace, 0 for weir's own. One that cannot be opened is none that weir has sockets in.
func (c *Caller) cookie() uint64 {
	if !c.OtherNetns {
		return 0
	}
	n, err := netns.Open(c.Netns)
	if err != nil {
		return elsewhere
	}
	defer n.Close()
	return n.Cookie()
}

// who finds the caller, if the question names one, and says in a step of its own who was found for a word.
func (w *walk) who() error {
	q := w.q
	var c Caller
	var err error
	switch {
	case q.From != "" && w.opt.Source != nil:
		c, err = w.opt.Source(q.From)
	case q.From != "":
		err = errNoCaller
	case q.Cgroup != "" || q.PID != 0:
		c, err = w.opt.Caller(q.Cgroup, q.PID)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	w.caller = &c
	if q.From == "" {
		return nil
	}
	if c.Addr.IsValid() && !q.Src.IsValid() {
		q.Src = netip.AddrPortFrom(c.Addr, 0)
	}
	s := w.step("caller", c.Text)
	if c.Cgroup != "" {
		s.detail("cgroup", "%s", c.Cgroup)
	}
	switch {
	case c.OtherNetns:
		s.detail("namespace", "%s, another one than weir's", c.NetnsName)
	case !c.Remote:
		s.detail("namespace", "weir's own")
	}
	if c.Note != "" {
		s.note("%s", c.Note)
	}
	return nil
}

// source is where the connection comes from as listeners see it: what the question says, else the address that the kernel would choose in
// the caller's network namespace, else the loopback's.
func (w *walk) source() netip.AddrPort {
	if w.from.IsValid() {
		return w.from
	}
	if w.from = w.q.Src; w.from.IsValid() {
		return w.from
	}
	src, ok := w.chosen()
	switch {
	case ok:
	case w.q.Dst.Addr().Is4():
		src = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		src = netip.IPv6Loopback()
	}
	w.from = netip.AddrPortFrom(src, 0)
	return w.from
}

// chosen is the address that the kernel would choose; false when it would be the loopback's, or is not known.
func (w *walk) chosen() (netip.Addr, bool) {
	dst := w.q.Dst.Addr()
	if w.opt.SourceAddr == nil || dst.IsLoopback() || dst.IsUnspecified() {
		return netip.Addr{}, false
	}
	file := ""
	if w.caller != nil && w.caller.OtherNetns {
		file = w.caller.Netns
	}
	return w.opt.SourceAddr(file, w.q.UDP, w.q.Dst)
}

// client says whom a captured connection comes from, where the question does not.
func (w *walk) client(s *Step) {
	if src := w.source(); !w.q.Src.IsValid() && !src.Addr().IsLoopback() {
		s.detail("client", "%s, which the kernel would choose for the destination", src.Addr())
	}
}
