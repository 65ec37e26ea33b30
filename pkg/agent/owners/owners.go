// Package owners finds out which processes and containers sockets belong to.
//
// It reads /proc and the cgroup hierarchy, and must not know what the sockets are for. A Finder may be used by several goroutines
// at once; its lock guards what it remembers of cgroups.
package owners

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// maxDescriptors bounds how many descriptors of processes are looked at for one question.
const maxDescriptors = 1 << 15

// Finder finds owners.
type Finder struct {
	hierarchy *cgroup.Hierarchy
	proc      string

	mu sync.Mutex
	// dirs are the directories of cgroups by their ids, which are never used again.
	dirs map[uint64]string
}

var _ view.Processes = (*Finder)(nil)

// New returns a Finder for the processes in a hierarchy.
func New(h *cgroup.Hierarchy) *Finder { return &Finder{hierarchy: h, proc: "/proc"} }

// Owners tells who has each of the sockets. Where the kernel did not note the process, or that one has ended, the processes of the
// socket's cgroup are searched for it; 32,768 descriptors of them at most.
func (f *Finder) Owners(sockets []view.NamespaceSocket) []view.Owner {
	out := make([]view.Owner, len(sockets))
	dirs := f.directories(sockets)
	commands := make(map[int]string)
	wanted := make(map[string]map[uint32][]int) // by cgroup and inode
	for i, s := range sockets {
		dir := dirs[s.Cgroup]
		if s.PID != 0 && f.command(int(s.PID), commands) != "" {
			out[i].PID = int(s.PID)
			if dir == "" {
				dir, _ = f.hierarchy.Of(int(s.PID)) // or it has ended just now
			}
		} else if dir != "" && s.Inode != 0 {
			if wanted[dir] == nil {
				wanted[dir] = make(map[uint32][]int)
			}
			wanted[dir][s.Inode] = append(wanted[dir][s.Inode], i)
		}
		if dir != "" {
			out[i].Container = Container(f.hierarchy.Name(dir))
		}
	}
	budget := maxDescriptors
	for _, dir := range slices.Sorted(maps.Keys(wanted)) {
		f.search(dir, wanted[dir], out, &budget)
	}
	for i := range out {
		if out[i].PID != 0 {
			out[i].Command = f.command(out[i].PID, commands)
		}
	}
	return out
}

// directories are those of the cgroups of sockets. Unless all are known, the hierarchy is walked once.
func (f *Finder) directories(sockets []view.NamespaceSocket) map[uint64]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range sockets {
		if _, known := f.dirs[s.Cgroup]; s.Cgroup == 0 || known {
			continue
		}
		f.dirs = make(map[uint64]string)
		for _, dir := range cgroup.Subtree(f.hierarchy.Root()) {
			if id, err := cgroup.ID(dir); err == nil { // else it has vanished
				f.dirs[id] = dir
			}
		}
		break
	}
	return f.dirs
}

// search looks for sockets among the descriptors of the processes of a cgroup.
func (f *Finder) search(dir string, wanted map[uint32][]int, out []view.Owner, budget *int) {
	pids, err := cgroup.Processes(dir)
	if err != nil {
		return // it has vanished, or holds threads of processes of other cgroups
	}
	for _, pid := range pids {
		fds := filepath.Join(f.proc, strconv.Itoa(pid), "fd")
		entries, err := os.ReadDir(fds)
		if err != nil {
			continue // it has ended
		}
		for _, e := range entries {
			if *budget--; *budget < 0 || len(wanted) == 0 {
				return
			}
			target, err := os.Readlink(filepath.Join(fds, e.Name()))
			if err != nil {
				continue
			}
			var inode uint32
			if n, err := fmt.Sscanf(target, "socket:[%d]", &inode); n != 1 || err != nil {
				continue
			}
			for _, i := range wanted[inode] {
				out[i].PID = pid
			}
			delete(wanted, inode)
		}
	}
}

// command is the name of a process, "" when there is none.
func (f *Finder) command(pid int, known map[int]string) string {
	name, ok := known[pid]
	if !ok {
		text, err := os.ReadFile(filepath.Join(f.proc, strconv.Itoa(pid), "comm"))
		if err == nil {
			name = string(bytes.TrimSpace(text))
		}
		known[pid] = name
	}
	return name
}

// Bounds on what is taken for the id of a container: people and their tools write the first twelve digits.
const (
	shortID = 12
	longID  = 64
)

// Container is the short name of what runs in a cgroup: the first digits of the id that a container runtime put into its last
// element (cri-containerd-ID.scope, docker-ID.scope, or the id alone), else that element without its suffix; "/" for the root.
func Container(name string) string {
	if id := ContainerID(name); id != "" {
		return id[:shortID]
	}
	return stem(name)
}

// ContainerID is the id that a container runtime put into the name of a cgroup; "" when there is none.
func ContainerID(name string) string {
	stem := stem(name)
	id := stem[strings.LastIndexByte(stem, '-')+1:]
	if len(id) == longID && strings.Trim(id, "0123456789abcdef") == "" {
		return id
	}
	return ""
}

// stem is the last element of a cgroup's name, without its suffix.
func stem(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(path.Base(name), ".scope"), ".service")
}
