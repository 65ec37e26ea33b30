package census

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/test/leak"
)

// TestMain turns the test binary into an application when a test started it as such: each line of its input makes it move to a
// network namespace of its own, which it confirms with a line. That thread is the main one, which stands for the
// process.
func TestMain(m *testing.M) {
	if os.Getenv("WEIR_TEST_ROLE") != "mover" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if unix.Gettid() != os.Getpid() {
		fmt.Println("not on the main thread")
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("moved")
	}
}

// app is such a process.
type app struct {
	t   *testing.T
	pid int
	in  io.WriteCloser
	out *bufio.Reader
	cmd *exec.Cmd
}

// start starts an app in a cgroup, in a network namespace of its own if own says so.
func start(t *testing.T, dir string, own bool) *app {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "WEIR_TEST_ROLE=mover")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if own {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out), cmd: cmd}
	t.Cleanup(a.end)
	if err := cgroup.Move(dir, a.pid); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *app) end() {
	a.in.Close()
	a.cmd.Wait()
}

func (a *app) namespace() netns.ID {
	a.t.Helper()
	id, err := netns.OfProcessID(a.pid)
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

// bed is a census with a cgroup to look at.
type bed struct {
	*Census
	t   *testing.T
	h   *cgroup.Hierarchy
	dir string
	end func()

	mu      sync.Mutex
	found   map[netns.ID]Resident
	changed int
	news    chan struct{}
}

func newBed(t *testing.T) *bed {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, h: h, news: make(chan struct{}, 1)}
	name := fmt.Sprintf("weir-census-%d-%s", os.Getpid(), t.Name())
	if b.dir, _, err = h.Create(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the processes have ended
		for dirs := cgroup.Subtree(b.dir); len(dirs) > 0; dirs = dirs[:len(dirs)-1] {
			if err := h.Remove(dirs[len(dirs)-1]); err != nil {
				t.Error(err)
			}
		}
	})
	b.Census = New(Options{
		Hierarchy: h, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Changed: func() { b.mu.Lock(); b.changed++; b.mu.Unlock() },
		Found: func(found map[netns.ID]Resident) {
			b.mu.Lock()
			b.found = found
			b.mu.Unlock()
			select {
			case b.news <- struct{}{}:
			default:
			}
		},
	})
	b.end = sync.OnceFunc(b.Close)
	t.Cleanup(b.end)
	return b
}

func (b *bed) create(name string) string {
	b.t.Helper()
	dir, _, err := b.h.Create(b.h.Name(b.dir) + "/" + name)
	if err != nil {
		b.t.Fatal(err)
	}
	return dir
}

func (b *bed) residents() map[netns.ID]Resident {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.found)
}

// until waits for a report, within a time that is short where a report that was only made by the regular look would come late.
func (b *bed) until(what string, within time.Duration, ok func(map[netns.ID]Resident) bool) {
	b.t.Helper()
	deadline := time.After(within)
	for !ok(b.residents()) {
		select {
		case <-b.news:
		case <-deadline:
			b.t.Fatalf("%s: gave up with %v", what, b.residents())
		}
	}
}

func has(ids ...netns.ID) func(map[netns.ID]Resident) bool {
	return func(found map[netns.ID]Resident) bool {
		for _, id := range ids {
			if _, ok := found[id]; !ok {
				return false
			}
		}
		return true
	}
}

func hasNot(id netns.ID) func(map[netns.ID]Resident) bool {
	return func(found map[netns.ID]Resident) bool { _, ok := found[id]; return !ok }
}

// soon is well below the interval of the regular look.
const soon = interval / 2

func TestProcesses(t *testing.T) {
	b := newBed(t)
	old := start(t, b.create("old"), true)
	b.Follow([]string{b.h.Name(b.dir) + "/**"}, nil)
	if r := b.residents()[old.namespace()]; r.Task != old.pid || r.Cgroup != b.dir+"/old" {
		t.Errorf("at once: %+v", b.residents())
	}
	a := start(t, b.create("new/inner"), true)
	b.until("a process in a cgroup that was made later", soon, has(a.namespace(), old.namespace()))
	neighbour := start(t, b.dir+"/old", false)
	b.until("one more process in a cgroup", soon, has(neighbour.namespace()))
	before := a.namespace()
	fmt.Fprintln(a.in, "move")
	if line, err := a.out.ReadString('\n'); line != "moved\n" {
		t.Fatalf("%q %v", line, err)
	}
	b.until("a process that has moved", 2*interval, has(a.namespace()))
	b.until("the namespace that it has left", 2*interval, hasNot(before))
	last := a.namespace()
	a.end()
	b.until("a namespace whose processes have ended", linger+soon, hasNot(last))
	if has(old.namespace())(b.residents()) == false {
		t.Error("a namespace that is lived in was forgotten")
	}
}

// TestLateMove is what container runtimes do: first the cgroup, then the namespace.
func TestLateMove(t *testing.T) {
	b := newBed(t)
	b.Follow([]string{b.h.Name(b.dir) + "/pod*/*"}, nil)
	a := start(t, b.create("pod1/c1"), false)
	fmt.Fprintln(a.in, "move")
	if line, err := a.out.ReadString('\n'); line != "moved\n" {
		t.Fatalf("%q %v", line, err)
	}
	b.until("a process that moves right after its start", soon, has(a.namespace()))
	other := start(t, b.create("other/c1"), true)
	b.until("a look at everything", 2*interval, func(map[netns.ID]Resident) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.changed > 3
	})
	if has(other.namespace())(b.residents()) {
		t.Error("a process that no pattern covers was counted")
	}
}

// TestLook is told of a task that it would not find.
func TestLook(t *testing.T) {
	b := newBed(t)
	b.Follow(nil, nil)
	a := start(t, b.create("elsewhere"), true)
	b.Look(a.pid)
	b.until("the task", soon, has(a.namespace()))
	id := a.namespace()
	a.end()
	b.until("its end", linger+soon+interval, hasNot(id))
	b.Look(1 << 30)
}

// TestPaths finds namespaces by their files.
func TestPaths(t *testing.T) {
	b := newBed(t)
	a := start(t, b.create("elsewhere"), true)
	dir := t.TempDir()
	file := filepath.Join(dir, "shop-1")
	b.Follow(nil, []string{filepath.Join(dir, "shop-*")})
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc/"+strconv.Itoa(a.pid)+"/ns/net", file, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mounted := true
	t.Cleanup(func() {
		if mounted {
			unix.Unmount(file, unix.MNT_DETACH)
		}
	})
	b.until("the file", soon, has(a.namespace()))
	if r := b.residents()[a.namespace()]; r.Path != file || r.Task != 0 {
		t.Errorf("resident %+v", r)
	}
	if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	mounted = false
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	b.until("its end", 2*interval+linger, hasNot(a.namespace()))
}

// TestNothingStays makes and ends many, and counts descriptors and what is remembered.
func TestNothingStays(t *testing.T) {
	b := newBed(t)
	b.Follow([]string{b.h.Name(b.dir)}, nil)
	files := leak.Files(t)
	for n := range 30 {
		dir := b.create(fmt.Sprint("pod", n))
		a := start(t, dir, true)
		a.end()
		if err := b.h.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	b.until("everybody's end", 3*interval, func(found map[netns.ID]Resident) bool { return len(found) == 0 })
	if now := leak.Files(t); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	b.end()
	if len(b.places) > 1 || len(b.dirty) > 1 || len(b.tasks) > 0 || len(b.seen) > 0 {
		t.Errorf("remembered: %v, %v, %v, %v", b.places, b.dirty, b.tasks, b.seen)
	}
}

// TestSettling leaves no long pause in the first second, in which processes go to their namespaces and connect.
func TestSettling(t *testing.T) {
	var sum time.Duration
	for n, pause := range settling {
		if sum += pause; pause > 250*time.Millisecond {
			t.Errorf("a cgroup is not looked at for %v before look %d", pause, n+1)
		}
	}
	if sum != time.Second {
		t.Errorf("the last look is after %v", sum)
	}
}
