package callers

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-proxy/weir/pkg/agent/owners"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

// candidate is who may be meant.
type candidate struct {
	// label is what to say to mean it, and what it is.
	label string
	// name of the container or process, cgroup by its directory, and one process of it, 0 for a container.
	name, cgroup string
	pid          int
	netns        netns.ID
}

func labels(all []candidate) []string {
	var out []string
	for _, c := range all {
		out = append(out, c.label)
	}
	return out
}

// alike tells whether connections of all candidates come from the same place.
func alike(all []candidate) bool {
	return !slices.ContainsFunc(all, func(c candidate) bool { return c.cgroup != all[0].cgroup || c.netns != all[0].netns })
}

// home is a network namespace: the file of it, and a process in it if there is one.
type home struct {
	id   netns.ID
	path string
	pid  int
}

// pids are the processes of the host.
func (f *Finder) pids() []int {
	entries, err := os.ReadDir(f.proc)
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// command is the name of a process, "" when it has ended.
func (f *Finder) command(pid int) string {
	text, err := os.ReadFile(filepath.Join(f.proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

func (f *Finder) title(pid int) string { return fmt.Sprintf("%d (%s)", pid, f.command(pid)) }

// processes are those of a name, and the names of all. The kernel keeps the first 15 bytes of a name.
func (f *Finder) processes(name string) (found []candidate, all []string) {
	const kept = 15
	short := name[:min(len(name), kept)]
	for _, pid := range f.pids() {
		command := f.command(pid)
		if command == "" {
			continue
		}
		all = append(all, command)
		if command != short || pid == os.Getpid() {
			continue
		}
		dir, err := f.hierarchy.Of(pid)
		if err != nil {
			continue // it has ended
		}
		id, err := netns.OfProcessID(pid)
		if err != nil {
			continue
		}
		found = append(found, candidate{
			label: fmt.Sprintf("pid:%d (%s, cgroup %s)", pid, command, f.hierarchy.Name(dir)), name: command, cgroup: dir, pid: pid, netns: id,
		})
	}
	return found, all
}

// directories are all cgroups.
func (f *Finder) directories() []string { return cgroup.Subtree(f.hierarchy.Root()) }

// containers are those whose id, or the last part of whose cgroup's name, begins with the text, or only the one that is called so,
// and the names of all. A cgroup within a container's belongs to it.
func (f *Finder) containers(text string) (found []candidate, all []string) {
	for _, dir := range f.directories() {
		id, short := owners.ContainerID(dir), owners.Container(dir)
		if id == "" {
			continue
		}
		all = append(all, short)
		if !strings.HasPrefix(id, text) {
			continue
		}
		found = append(found, candidate{label: "container:" + short + " (cgroup " + f.hierarchy.Name(dir) + ")", name: short, cgroup: dir})
	}
	return found, all
}

// namespacesOf are the network namespaces of processes, each once.
func (f *Finder) namespacesOf(pids []int) []home {
	var out []home
	seen := make(map[netns.ID]bool)
	for _, pid := range pids {
		if id, err := netns.OfProcessID(pid); err == nil && !seen[id] {
			seen[id] = true
			out = append(out, home{id: id, pid: pid, path: filepath.Join(f.proc, strconv.Itoa(pid), "ns", "net")})
		}
	}
	return out
}

// names are the named network namespaces.
func (f *Finder) names() []string {
	entries, err := os.ReadDir(f.named)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// name is that of a network namespace in namedNamespaces, or else its number.
func (f *Finder) name(id netns.ID) string {
	for _, name := range f.names() {
		if found, err := netns.Stat(filepath.Join(f.named, name)); err == nil && found == id {
			return name
		}
	}
	return fmt.Sprintf("net:[%d]", id.Inode)
}

// homes are the network namespaces with an address: weir's own alone if that has it, else those that are served if some are.
func (f *Finder) homes(addr netip.Addr) []home {
	own, err := netns.CurrentID()
	if err != nil {
		return nil
	}
	if has(addr) {
		return []home{{id: own}}
	}
	all := f.namespacesOf(f.pids())
	for _, name := range f.names() {
		path := filepath.Join(f.named, name)
		if id, err := netns.Stat(path); err == nil && !slices.ContainsFunc(all, func(h home) bool { return h.id == id }) {
			all = append(all, home{id: id, path: path})
		}
	}
	var out []home
	for _, h := range all {
		if h.id == own {
			continue
		}
		n, err := netns.Open(h.path)
		if err != nil {
			continue // its process has ended, or it is the empty file that stays of a namespace
		}
		there := false
		err = n.Do(func() error { there = has(addr); return nil })
		if n.Close(); err == nil && there {
			out = append(out, h)
		}
	}
	if served := func(h home) bool { return f.served(h.id) }; slices.ContainsFunc(out, served) {
		out = slices.DeleteFunc(out, func(h home) bool { return !served(h) })
	}
	return out
}

// has tells whether the network namespace of the calling thread has an address.
func has(addr netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == addr.WithZone("") {
				return true
			}
		}
	}
	return false
}

// Home is the cookie and the name of the network namespace in which a destination is, as a caller sees it; ok is false when
// it is not on this host, or in more than one.
func (f *Finder) Home(addr netip.Addr, from string) (cookie uint64, name string, ok bool) {
	h := home{path: from}
	if !addr.IsLoopback() {
		homes := f.homes(addr)
		if len(homes) != 1 {
			return 0, "", false
		}
		h = homes[0]
	}
	n, err := open(h.path)
	if err != nil {
		return 0, "", false
	}
	defer n.Close()
	return n.Cookie(), f.name(n.ID()), true
}

// open opens the network namespace of a file, or the own one.
func open(path string) (*netns.Namespace, error) {
	if path == "" {
		return netns.Current()
	}
	return netns.Open(path)
}
