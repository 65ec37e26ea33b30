package cgroup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMain turns the test binary into a process that only waits for the end of its input, when a test started it as such.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_ROLE") == "sleeper" {
		io.Copy(io.Discard, os.Stdin)
		return
	}
	os.Exit(m.Run())
}

// tree makes a directory that looks like a cgroup hierarchy.
func tree(t *testing.T, names ...string) *Hierarchy {
	t.Helper()
	root := t.TempDir()
	for _, name := range append(names, ".") {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for ; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return At("/", root)
}

func TestResolve(t *testing.T) {
	h := tree(t, "system.slice", "system.slice/a.service", "system.slice/ab.service", "user.slice")
	if err := os.Mkdir(filepath.Join(h.Root(), "not-a-cgroup"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		patterns []string
		want     []string
		missing  []string
	}{
		{"path", []string{"user.slice"}, []string{"/user.slice"}, nil},
		{"leading slash", []string{"/user.slice/"}, []string{"/user.slice"}, nil},
		{"whole directory", []string{h.Root() + "/user.slice"}, []string{"/user.slice"}, nil},
		{"root", []string{"/"}, []string{"/"}, nil},
		{"glob", []string{"system.slice/*.service"}, []string{"/system.slice/a.service", "/system.slice/ab.service"}, nil},
		{"glob of one character", []string{"system.slice/a?.service"}, []string{"/system.slice/ab.service"}, nil},
		{"twice", []string{"user.slice", "user.*"}, []string{"/user.slice"}, nil},
		{"below another", []string{"system.slice/a.service", "system.slice"}, []string{"/system.slice"}, nil},
		{"below the root", []string{"system.slice/a.service", "/"}, []string{"/"}, nil},
		{"missing", []string{"nope", "user.slice", "no*"}, []string{"/user.slice"}, []string{"nope", "no*"}},
		{"plain directory", []string{"not-a-cgroup"}, nil, []string{"not-a-cgroup"}},
		{"none", nil, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dirs, missing, err := h.Resolve(test.patterns)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, dir := range dirs {
				names = append(names, h.Name(dir))
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("cgroups (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
	for _, pattern := range []string{"../etc", "a/../../b", "[a"} {
		t.Run("refuses "+pattern, func(t *testing.T) {
			if dirs, _, err := h.Resolve([]string{pattern}); err == nil {
				t.Errorf("resolved to %v, want an error", dirs)
			}
		})
	}
}

// One's own cgroup is made when it is named in any way, but not for a glob that it would match.
func TestResolveWith(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		made    bool
	}{{"own", true}, {"/own", true}, {"/own/", true}, {"o*", false}, {"other", false}, {"other/own", false}} {
		t.Run(tt.pattern, func(t *testing.T) {
			h := At("/", t.TempDir())
			_, _, created, err := h.ResolveWith("own", []string{tt.pattern})
			if err != nil || (created == filepath.Join(h.Root(), "own")) != tt.made {
				t.Fatalf("made %q, %v", created, err)
			}
			if _, _, again, err := h.ResolveWith("own", []string{tt.pattern}); err != nil || again != "" {
				t.Errorf("made %q once more, %v", again, err)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	tests := []struct {
		name    string
		h       *Hierarchy
		own     string
		want    string
		outside bool
	}{
		{"whole hierarchy", At("/", "/sys/fs/cgroup"), "/a/b", "/sys/fs/cgroup/a/b", false},
		{"part", At("/a", "/run/part"), "/a/b", "/run/part/b", false},
		{"part itself", At("/a", "/run/part"), "/a", "/run/part", false},
		{"outside", At("/a", "/run/part"), "/ab", "", true},
		{"container with the host's hierarchy", At("/../..", "/sys/fs/cgroup"), "/../../system.slice/a", "/sys/fs/cgroup/system.slice/a", false},
		{"container's own part of it", At("/../..", "/sys/fs/cgroup"), "/", "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.h.locate(test.own)
			if got != test.want || errors.Is(err, ErrOutside) != test.outside {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// TestRealCgroup goes through the life of a cgroup with a process in it.
func TestRealCgroup(t *testing.T) {
	h, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("weir-cgroup-test-%d", os.Getpid())
	dir, created, err := h.Create(name + "/inner")
	if err != nil || !created {
		t.Fatalf("create: %t, %v", created, err)
	}
	outer := filepath.Dir(dir)
	t.Cleanup(func() {
		for _, d := range []string{dir, outer} {
			if err := h.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	if _, created, err := h.Create(name); err != nil || created {
		t.Errorf("create again: %t, %v", created, err)
	}
	id, err := ID(dir)
	if err != nil || id == 0 {
		t.Errorf("id %d, %v", id, err)
	}
	if got, err := h.ByID(id); err != nil || got != dir {
		t.Errorf("cgroup %d is %q (%v), want %q", id, got, err, dir)
	}
	if got, err := h.ByID(1 << 62); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("a cgroup that is not there: %q, %v, want ESTALE", got, err)
	}
	sleeper := exec.CommandContext(t.Context(), "/proc/self/exe")
	sleeper.Env = append(os.Environ(), "WEIR_TEST_ROLE=sleeper")
	if _, err := sleeper.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	pid := sleeper.Process.Pid
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	if err := Move(dir, pid); err != nil {
		t.Fatal(err)
	}
	if pids, err := Processes(dir); err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("processes %v (%v), want %d", pids, err, pid)
	}
	if got, err := h.Of(pid); err != nil || got != dir {
		t.Errorf("cgroup of the process %q (%v), want %q", got, err, dir)
	}
	if err := h.Remove(dir); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("remove with a process in it: %v, want EBUSY", err)
	}
}

func TestOwn(t *testing.T) {
	h, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := h.Of(0)
	if err != nil {
		t.Fatal(err)
	}
	pids, err := Processes(dir)
	if err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Errorf("processes of own cgroup %s: %v (%v), want %d among them", dir, pids, err, os.Getpid())
	}
	if id := h.OwnID(); id != 0 && (len(pids) != 1 || dir == h.Root()) {
		t.Errorf("own id %d, but the cgroup is shared", id)
	}
}
