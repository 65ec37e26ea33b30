package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/kernel/census"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// recorder is a user of namespaces that notes what it is told.
type recorder struct {
	name  string
	calls *[]string
	err   error
}

func (r *recorder) enter(n *netns.Namespace, in *streaminfo.Namespace) error {
	if in.Cookie != n.Cookie() || in.Own == nil {
		return fmt.Errorf("told of %+v", in)
	}
	*r.calls = append(*r.calls, r.name+" enters")
	return r.err
}

func (r *recorder) leave(*netns.Namespace, *streaminfo.Namespace) {
	*r.calls = append(*r.calls, r.name+" leaves")
}

// resident is a process in a network namespace of its own, until the test ends.
func resident(t *testing.T) (netns.ID, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	id, err := netns.OfProcessID(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id, cmd.Process.Pid
}

func TestNamespacesLife(t *testing.T) {
	var calls []string
	first, second := &recorder{name: "first", calls: &calls}, &recorder{name: "second", calls: &calls}
	own, err := netns.CurrentID()
	if err != nil {
		t.Fatal(err)
	}
	s := &namespaces{
		log: slog.New(slog.NewTextHandler(t.Output(), nil)), users: []namespaceUser{first, second}, own: own,
		known:  make(map[netns.ID]*knownNamespace),
		vacate: func(*streaminfo.Namespace) { calls = append(calls, "vacated") },
		self: func(*streaminfo.Namespace) func(netip.AddrPort) bool {
			return func(netip.AddrPort) bool { return false }
		},
	}
	id, pid := resident(t)
	here := map[netns.ID]census.Resident{id: {Task: pid, Cgroup: "/cg"}, own: {Task: 1}}
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		calls = nil
	}
	first.err = errors.New("no IPv6")
	s.found(here)
	expect("somebody has come", "first enters", "second enters")
	if l := s.list(); len(l) != 1 || l[0].Error != "no IPv6" || l[0].Inode != id.Inode || l[0].Cookie == 0 || l[0].Cgroup != "/cg" {
		t.Errorf("listed %+v", l)
	}
	s.found(here)
	expect("too soon to try again")
	s.known[id].tried = time.Now().Add(-retryInterval)
	first.err = nil
	s.found(here)
	expect("tried again", "first enters", "second enters")
	if l := s.list(); l[0].Error != "" {
		t.Errorf("listed %+v", l)
	}
	s.known[id].tried = time.Now().Add(-retryInterval)
	s.found(here)
	expect("served already")
	s.found(nil)
	expect("everybody has gone", "second leaves", "first leaves", "vacated")
	if l := s.list(); len(l) != 0 {
		t.Errorf("listed %+v", l)
	}
	s.ownOnly.Store(true)
	s.found(here)
	expect("only its own")
}

// TestNamespaceThatCannotBeOpened is listed with the reason, and not left.
func TestNamespaceThatCannotBeOpened(t *testing.T) {
	var calls []string
	s := &namespaces{
		log: slog.New(slog.NewTextHandler(t.Output(), nil)), users: []namespaceUser{&recorder{"user", &calls, nil}},
		known:  make(map[netns.ID]*knownNamespace),
		vacate: func(*streaminfo.Namespace) { t.Error("vacated") },
		self:   func(*streaminfo.Namespace) func(netip.AddrPort) bool { return nil },
	}
	_, pid := resident(t)
	s.found(map[netns.ID]census.Resident{
		{Inode: 1}: {Task: pid},                     // it has moved meanwhile
		{Inode: 2}: {Task: 1 << 30},                 // it has ended
		{Inode: 3}: {Path: "/run/netns/not/there"},  // it was removed
		{Inode: 4}: {Path: "/proc/self/ns/user"},    // it is none
		{Inode: 5}: {Task: pid, Path: "/proc/self"}, // nor is this
	})
	var got []string
	for _, n := range s.list() {
		got = append(got, n.Error)
	}
	for n, want := range []string{"has left", "no such file", "no such file", "not a network namespace", "not a network namespace"} {
		if n >= len(got) || !strings.Contains(got[n], want) {
			t.Errorf("errors %q, want %q at %d", got, want, n)
		}
	}
	s.found(nil)
	if slices.Contains(calls, "user enters") || len(s.list()) > 0 {
		t.Errorf("calls %q, listed %+v", calls, s.list())
	}
}
