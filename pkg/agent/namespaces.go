package agent

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/agent/view"
	"github.com/weir-proxy/weir/pkg/kernel/census"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// namedNamespaces is where `ip netns` and container runtimes keep the files of network namespaces.
const namedNamespaces = "/run/netns"

// retryInterval is how long nothing is tried again in a namespace where something did not succeed.
const retryInterval = time.Second

// namespaceUser has sockets or programs of its own in each namespace that is served.
type namespaceUser interface {
	// enter is called when a namespace is served, and from time to time again as long as it returns an error.
	enter(n *netns.Namespace, in *streaminfo.Namespace) error
	// leave is called afterwards. Nothing may stay in the namespace, which it would keep alive.
	leave(n *netns.Namespace, in *streaminfo.Namespace)
}

// namespaces serves the network namespaces, beside weir's own, that captured processes live in.
type namespaces struct {
	log   *slog.Logger
	users []namespaceUser
	// vacate gives up upstream connections.
	vacate func(*streaminfo.Namespace)
	// self tells weir's own sockets in a namespace.
	self         func(*streaminfo.Namespace) func(netip.AddrPort) bool
	census       *census.Census
	hostUpstream atomic.Bool
	ownOnly      atomic.Bool
	own          netns.ID

	mu    sync.Mutex
	known map[netns.ID]*knownNamespace
}

// knownNamespace is one in which somebody lives.
type knownNamespace struct {
	resident census.Resident
	err      error // why it is not served, or not wholly
	tried    time.Time
	ns       *netns.Namespace      // nil when it could not be opened
	in       *streaminfo.Namespace // nil with ns
}

// watch starts to look for namespaces. changed is called when cgroups came or went.
func (s *namespaces) watch(h *cgroup.Hierarchy, changed func()) error {
	own, err := netns.CurrentID()
	if err != nil {
		return err
	}
	s.own, s.known = own, make(map[netns.ID]*knownNamespace)
	s.census = census.New(census.Options{Hierarchy: h, Log: s.log, Changed: changed, Found: s.found})
	return nil
}

// found serves what is lived in, and nothing else.
func (s *namespaces) found(residents map[netns.ID]census.Resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ownOnly.Load() {
		clear(residents)
	}
	for id, known := range s.known {
		if resident, ok := residents[id]; ok {
			known.resident = resident
			continue
		}
		s.leave(known)
		delete(s.known, id)
	}
	now := time.Now()
	for id, resident := range residents {
		known := s.known[id]
		if id == s.own || known != nil && (known.err == nil || now.Sub(known.tried) < retryInterval) {
			continue
		}
		if known == nil {
			known = &knownNamespace{resident: resident}
			s.known[id] = known
		}
		first := known.tried.IsZero()
		known.tried = now
		s.serve(id, known, first)
	}
}

// serve opens a namespace, unless it is open, and has everything done there that is not done yet.
func (s *namespaces) serve(id netns.ID, known *knownNamespace, first bool) {
	if known.ns == nil {
		if known.err = s.open(id, known); known.err != nil {
			if first {
				s.log.Warn("captured processes are in a network namespace that cannot be served", "namespace", name(id), "error", known.err)
			}
			return
		}
	}
	known.err = nil
	for _, u := range s.users {
		if err := u.enter(known.ns, known.in); err != nil && known.err == nil {
			known.err = err
		}
	}
	if first {
		s.log.Info("network namespace is served", "namespace", known.in.Name, "inode", id.Inode, "process", known.resident.Task, "cgroup", known.resident.Cgroup)
	}
	if known.err != nil {
		s.log.Debug("network namespace is not wholly served", "namespace", known.in.Name, "error", known.err)
	}
}

func (s *namespaces) open(id netns.ID, known *knownNamespace) error {
	open := func() (*netns.Namespace, error) { return netns.OfProcess(known.resident.Task) }
	if known.resident.Path != "" {
		open = func() (*netns.Namespace, error) { return netns.Open(known.resident.Path) }
	}
	n, err := open()
	if err != nil {
		return err
	}
	if n.ID() != id {
		_ = n.Close()
		return fmt.Errorf("process %d has left %s", known.resident.Task, name(id))
	}
	known.ns = n
	known.in = &streaminfo.Namespace{
		Cookie: n.Cookie(), Name: name(id), Inside: n.Do, HostUpstream: s.hostUpstream.Load(),
	}
	known.in.Own = s.self(known.in)
	return nil
}

// leave undoes serve, last first. Then nothing of weir's is left there but connections that end by themselves.
func (s *namespaces) leave(known *knownNamespace) {
	if known.ns == nil {
		return
	}
	for _, u := range slices.Backward(s.users) {
		u.leave(known.ns, known.in)
	}
	s.vacate(known.in)
	if err := known.ns.Close(); err != nil {
		s.log.Warn("leave network namespace", "error", err)
	}
	s.log.Info("network namespace is served no more", "namespace", known.in.Name)
}

// close leaves all namespaces. It may be called when watch was not.
func (s *namespaces) close() {
	if s.census == nil {
		return
	}
	s.census.Close()
	s.found(nil)
}

// serves tells whether captured processes live in a namespace.
func (s *namespaces) serves(id netns.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[id] != nil
}

// list describes the namespaces that somebody lives in.
func (s *namespaces) list() []view.Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []view.Namespace{}
	for id, known := range s.known {
		n := view.Namespace{Name: name(id), Inode: id.Inode, Process: known.resident.Task, Cgroup: known.resident.Cgroup, Path: known.resident.Path}
		if known.in != nil {
			n.Cookie = known.in.Cookie
		}
		if known.err != nil {
			n.Error = known.err.Error()
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b view.Namespace) int { return int(int64(a.Inode) - int64(b.Inode)) })
	return out
}

// name is the name of a namespace in namedNamespaces, or else its number.
func name(id netns.ID) string {
	entries, err := os.ReadDir(namedNamespaces)
	if err != nil {
		entries = nil
	}
	for _, e := range entries {
		if found, err := netns.Stat(filepath.Join(namedNamespaces, e.Name())); err == nil && found == id {
			return e.Name()
		}
	}
	return fmt.Sprintf("net:[%d]", id.Inode)
}
