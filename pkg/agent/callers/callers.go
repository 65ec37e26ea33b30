// Package callers finds out whom a person means by a word such as "pid:12", "nginx", the first digits of a container's id, or an IP
// address: which cgroup and which network namespace connections of theirs come from.
//
// It reads /proc, the cgroup hierarchy and the addresses of network namespaces, each time anew. It must not know configuration or
// what is asked about the caller. A Finder holds no state that changes; any number of goroutines may use it.
package callers

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

// namedNamespaces is where `ip netns` and container runtimes keep the files of network namespaces.
const namedNamespaces = "/run/netns"

// maxShown bounds how many candidates an error lists.
const maxShown = 8

// Finder finds callers among the processes of this host.
type Finder struct {
	hierarchy   *cgroup.Hierarchy
	served      func(netns.ID) bool
	proc, named string
}

// New returns a Finder for the processes in a hierarchy. served tells the network namespaces that captured processes live in: of
// several with the same address they are meant.
func New(h *cgroup.Hierarchy, served func(netns.ID) bool) *Finder {
	return &Finder{hierarchy: h, served: served, proc: "/proc", named: namedNamespaces}
}

// Forms are the ways to name a caller, for messages.
const Forms = "host, pid:N, process:NAME, cgroup:PATH, container:ID (its first digits), netns:NAME or an IP address"

// Find tells who is meant. A word with a kind in front of a colon is of that kind; without one, numbers are process ids, paths are
// cgroups, and other words are looked for among containers, processes and named network namespaces. The error of a word that
// nobody or more than one has says who comes close or who has it.
func (f *Finder) Find(text string) (explain.Caller, error) {
	kind, value, found := strings.Cut(text, ":")
	if look := f.kinds()[kind]; found && look != nil {
		if value == "" {
			return explain.Caller{}, fmt.Errorf("source %q: nothing is behind the colon", text)
		}
		return look(value)
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return f.address(addr.Unmap())
	}
	switch {
	case text == "host":
		return f.host()
	case strings.Trim(text, "0123456789") == "" && text != "" && len(text) < 8:
		return f.pid(text)
	case strings.Contains(text, "/"):
		return f.cgroup(text)
	}
	return f.word(text)
}

func (f *Finder) kinds() map[string]func(string) (explain.Caller, error) {
	return map[string]func(string) (explain.Caller, error){
		"pid": f.pid, "process": f.process, "cgroup": f.cgroup, "container": f.container, "netns": f.namespace,
	}
}

// host is any process in weir's own network namespace; which cgroup it is in is open.
func (f *Finder) host() (explain.Caller, error) {
	return explain.Caller{Text: "a process in weir's own network namespace"}, nil
}

func (f *Finder) pid(text string) (explain.Caller, error) {
	pid, err := strconv.Atoi(text)
	if err != nil || pid < 1 {
		return explain.Caller{}, fmt.Errorf("source pid:%s: %q is not a process id", text, text)
	}
	return f.of(pid)
}

// of is a process.
func (f *Finder) of(pid int) (explain.Caller, error) {
	c, err := explain.HostCaller("", pid)
	if err != nil {
		return c, fmt.Errorf("source pid:%d: %w", pid, err)
	}
	c.Text = "process " + f.title(pid)
	return c, nil
}

// cgroup is any process of a cgroup. The network namespace is that of its processes, as far as they agree.
func (f *Finder) cgroup(name string) (explain.Caller, error) {
	c, err := explain.HostCaller(name, 0)
	if err != nil {
		all := make([]string, 0, 64)
		for _, dir := range f.directories() {
			all = append(all, f.hierarchy.Name(dir))
		}
		return c, fmt.Errorf("source cgroup:%s: %w%s", name, err, near(name, all))
	}
	c.Text = "a process of the cgroup " + c.Cgroup
	return c, f.inhabit(&c)
}

// inhabit adds the network namespace of a cgroup's processes.
func (f *Finder) inhabit(c *explain.Caller) error {
	var pids []int
	for _, dir := range cgroup.Subtree(c.Dir) {
		some, err := cgroup.Processes(dir)
		if err == nil { // else it has vanished
			pids = append(pids, some...)
		}
	}
	where := f.namespacesOf(pids)
	switch len(where) {
	case 0:
		c.Note = "The cgroup has no process; it is taken to be in weir's own network namespace."
		return nil
	case 1:
		return f.enter(c, where[0])
	}
	c.Note = fmt.Sprintf("Its processes are in %d network namespaces; this is about weir's own. Give pid:N for one of them.", len(where))
	return nil
}

// enter puts a caller into the network namespace of a process.
func (f *Finder) enter(c *explain.Caller, of home) error {
	own, err := netns.CurrentID()
	if err != nil {
		return err
	}
	if of.id != own {
		c.OtherNetns, c.PID, c.Netns, c.NetnsName = true, of.pid, of.path, f.name(of.id)
	}
	return nil
}

// container is any process of the container whose id begins with the digits.
func (f *Finder) container(prefix string) (explain.Caller, error) {
	found, all := f.containers(strings.ToLower(prefix))
	if len(found) != 1 {
		return explain.Caller{}, f.unclear("container:"+prefix, "container", found, all)
	}
	return f.inContainer(found[0])
}

func (f *Finder) inContainer(dir candidate) (explain.Caller, error) {
	c, err := explain.HostCaller(dir.cgroup, 0)
	if err != nil {
		return c, err
	}
	c.Text = "a process of the container " + dir.name
	return c, f.inhabit(&c)
}

// process is the process of that name, or any of several that are in one cgroup and network namespace.
func (f *Finder) process(name string) (explain.Caller, error) {
	found, all := f.processes(name)
	if len(found) == 0 || !alike(found) {
		return explain.Caller{}, f.unclear("process:"+name, "process", found, all)
	}
	return f.of(found[0].pid)
}

// namespace is any process in the network namespace of a name in /run/netns, or of a file.
func (f *Finder) namespace(name string) (explain.Caller, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join(f.named, name)
	}
	id, err := netns.Stat(path)
	if err != nil {
		return explain.Caller{}, fmt.Errorf("source netns:%s: %w%s", name, err, near(name, f.names()))
	}
	n, err := netns.Open(path)
	if err != nil {
		return explain.Caller{}, fmt.Errorf("source netns:%s: %w", name, err)
	}
	_ = n.Close() // it was opened to see that it is one
	return f.in(home{id: id, path: path}, "a process in the network namespace "+name)
}

// in is any process in a network namespace. Its cgroup is that of the processes there, as far as they agree.
func (f *Finder) in(of home, text string) (explain.Caller, error) {
	var c explain.Caller
	cgroups := make(map[string]int)
	for _, pid := range f.pids() {
		if id, err := netns.OfProcessID(pid); err != nil || id != of.id {
			continue
		}
		if dir, err := f.hierarchy.Of(pid); err == nil {
			cgroups[dir] = pid
			of.pid = pid
		}
	}
	if len(cgroups) == 1 {
		var err error
		if c, err = f.of(of.pid); err != nil {
			return c, err
		}
	} else if len(cgroups) > 1 {
		c.Note = fmt.Sprintf("Processes of %d cgroups are in this network namespace; give pid:N or cgroup:PATH for one of them.", len(cgroups))
	}
	c.Text = text
	return c, f.enter(&c, of)
}

// address is any process in the network namespace that has the address, or somebody elsewhere.
func (f *Finder) address(addr netip.Addr) (explain.Caller, error) {
	if addr.IsLoopback() || addr.IsUnspecified() {
		c, err := f.host()
		c.Addr = addr
		return c, err
	}
	homes := f.homes(addr)
	switch len(homes) {
	case 0:
		return explain.Caller{Addr: addr, Remote: true, Text: "somebody at " + addr.String() + ", which is no address of this host"}, nil
	case 1:
		own, err := netns.CurrentID()
		if err != nil {
			return explain.Caller{}, err
		}
		if homes[0].id == own {
			return explain.Caller{Addr: addr, Text: "a process in weir's own network namespace, which has the address " + addr.String()}, nil
		}
		c, err := f.in(homes[0], "a process in the network namespace that has the address "+addr.String())
		c.Addr = addr
		return c, err
	}
	var names []string
	for _, h := range homes {
		names = append(names, "netns:"+f.name(h.id))
	}
	return explain.Caller{}, fmt.Errorf("source %s: %d network namespaces have this address: %s", addr, len(homes), list(names))
}

// word looks everywhere.
func (f *Finder) word(text string) (explain.Caller, error) {
	if text == "" {
		return explain.Caller{}, errors.New("the source is empty; it is one of " + Forms)
	}
	containers, allContainers := f.containers(strings.ToLower(text))
	processes, allProcesses := f.processes(text)
	named, err := netns.Stat(filepath.Join(f.named, text))
	isNamed := err == nil && named != netns.ID{}
	kinds := 0
	for _, there := range []bool{len(containers) > 0, len(processes) > 0, isNamed} {
		if there {
			kinds++
		}
	}
	switch {
	case kinds == 1 && len(containers) > 0:
		return f.container(text)
	case kinds == 1 && len(processes) > 0:
		return f.process(text)
	case kinds == 1:
		return f.namespace(text)
	case kinds == 0:
		all := append(append(allContainers, allProcesses...), f.names()...)
		return explain.Caller{}, fmt.Errorf("source %q: no container, process or network namespace is called so%s; give %s", text, near(text, all), Forms)
	}
	both := labels(append(containers, processes...))
	if isNamed {
		both = append(both, "netns:"+text)
	}
	return explain.Caller{}, fmt.Errorf("source %q is ambiguous: %s", text, list(both))
}

// unclear is the error of a word that not just one has.
func (f *Finder) unclear(text, kind string, found []candidate, all []string) error {
	if len(found) == 0 {
		_, word, _ := strings.Cut(text, ":")
		return fmt.Errorf("source %s: there is no such %s%s", text, kind, near(word, all))
	}
	return fmt.Errorf("source %s is ambiguous: %s", text, list(labels(found)))
}
