package intercept

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/pin/pintest"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/test/await"
)

// pinnedDaemon starts a daemon that pins its state, with the given fail policy.
func pinnedDaemon(t *testing.T, fs, name, policy string) (stop func(syscall.Signal)) {
	t.Helper()
	daemon := spawn(t, "", "daemon")
	daemon.Env = append(daemon.Env, "WEIR_TEST_CGROUP="+name, "WEIR_TEST_BPFFS="+fs, "WEIR_TEST_POLICY="+policy)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func(s syscall.Signal) {
		daemon.Process.Signal(s)
		daemon.Wait()
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		stop(syscall.SIGKILL)
		t.Fatalf("daemon said %q (%v)", line, err)
	}
	return stop
}

func TestFailPolicyHoldsWithoutDaemon(t *testing.T) {
	h := kerneltest.Hierarchy(t)
	for _, tt := range []struct{ policy, want string }{{"open", "direct"}, {"closed", "connection refused"}} {
		t.Run(tt.policy, func(t *testing.T) {
			name := fmt.Sprintf("weir-test-%d-pin-%s", os.Getpid(), tt.policy)
			dir := kerneltest.Cgroup(t, h, name)
			server := direct(t, "127.0.0.1:0")
			fs := kerneltest.BPFFS(t)
			kill := pinnedDaemon(t, fs, name, tt.policy)
			if ans := client(t, dir, request{Addr: server.String()}); ans.Greeting != "captured" {
				t.Errorf("while it runs: %+v, want it captured", ans)
			}
			if _, err := pin.Open(pin.Options{FS: fs, Instance: "test"}); !strings.Contains(fmt.Sprint(err), "the weir with pid ") {
				t.Errorf("a second owner: %v, want the pid of the first", err)
			}
			kill(syscall.SIGKILL)
			for range 2 {
				ans := client(t, dir, request{Addr: server.String()})
				if got := ans.Greeting + ans.Err; !strings.Contains(got, tt.want) {
					t.Errorf("after it was killed: %+v, want %q", ans, tt.want)
				}
			}
			// The next one takes over what is there.
			kill = pinnedDaemon(t, fs, name, tt.policy)
			if ans := client(t, dir, request{Addr: server.String()}); ans.Greeting != "captured" {
				t.Errorf("with the next one: %+v, want it captured", ans)
			}
			if n := len(programsAt(t, dir)); n != 1 {
				t.Errorf("%d programs at connect4, want the old one replaced", n)
			}
			kill(syscall.SIGKILL)
			states, err := pin.List(fs)
			if err != nil || len(states) != 1 || states[0].Owned || len(states[0].Versions) != 1 || states[0].Versions[0].Links != len((&objects{}).hooks()) {
				t.Errorf("state left behind: %+v (%v)", states, err)
			}
			if err := pin.Discard(states[0]); err != nil {
				t.Error(err)
			}
			await.True(t, "connections are left alone", func() bool {
				return client(t, dir, request{Addr: server.String()}).Greeting == "direct"
			})
		})
	}
}

func programsAt(t *testing.T, dir string) []HookProgram {
	t.Helper()
	target, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	programs, err := program.Effective(target, ebpf.AttachCGroupInet4Connect, nil)
	if err != nil {
		t.Fatal(err)
	}
	return programs
}

// TestTakeOver lets one interceptor take over from another in the middle of a connection: the second one knows where it was
// going, and what getpeername tells does not change.
func TestTakeOver(t *testing.T) {
	h := kerneltest.Hierarchy(t)
	name := fmt.Sprintf("weir-test-%d-takeover", os.Getpid())
	dir := kerneltest.Cgroup(t, h, name)
	fs := kerneltest.BPFFS(t)
	plan := &steer.Plan{Cgroups: []string{name}, FailClosed: true, Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.80/32"), Port: 80, Action: steer.Redirect, Listener: "shop",
	}}}
	var notices []string
	load := func(takeOver bool) *Interceptor {
		store, err := pin.Open(pin.Options{FS: fs, Instance: "test", TakeOver: takeOver})
		if err != nil {
			t.Fatal(err)
		}
		i, err := New(Options{ProxyMark: testMark, Hierarchy: h, Pins: store, Notice: func(text string) { notices = append(notices, text) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		})
		return i
	}
	old := &bench{Interceptor: load(false), hierarchy: h, dir: dir, name: name}
	conns := old.capture(t)
	old.apply(t, plan)
	if ans := client(t, dir, request{Addr: nowhere4}); ans.Greeting != "captured" {
		t.Fatalf("client of the first: %+v", ans)
	}
	if got := receive(t, conns); got.flow.Listener != "shop" {
		t.Fatalf("accepted %+v", got)
	}
	before := programsAt(t, dir)

	next := &bench{Interceptor: load(true), hierarchy: h, dir: dir, name: name}
	nextConns := next.capture(t)
	next.apply(t, plan)
	after := programsAt(t, dir)
	if len(after) != 1 || after[0].ID == before[0].ID {
		t.Errorf("programs before %v, after %v: want one, and another", before, after)
	}
	if err := old.Yield(); err != nil {
		t.Error(err)
	}
	if err := next.opts.Pins.Lock(t.Context()); err != nil {
		t.Error(err)
	}
	if err := old.Apply(nil); err != nil {
		t.Errorf("apply after yielding: %v", err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if ans := client(t, dir, request{Addr: nowhere4}); ans.Greeting != "captured" || ans.Peer != nowhere4 {
		t.Errorf("client of the second: %+v", ans)
	}
	if got := receive(t, nextConns); !got.known || got.flow.Listener != "shop" {
		t.Errorf("the second accepted %+v", got)
	}
	counters, err := next.Counters()
	if err != nil || counters[ReasonCaptured.String()] != 2 {
		t.Errorf("counters %v (%v), want those of the first to go on", counters, err)
	}
	if len(notices) > 0 {
		t.Errorf("notices %q", notices)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	if left, err := pin.List(fs); err != nil || len(left) != 0 {
		t.Errorf("state after the end: %+v (%v)", left, err)
	}
}

func TestReclaim(t *testing.T) {
	b := newBench(t)
	fs := kerneltest.BPFFS(t)
	load := func(takeOver bool) *Interceptor {
		store, err := pin.Open(pin.Options{FS: fs, Instance: "test", TakeOver: takeOver})
		if err != nil {
			t.Fatal(err)
		}
		i, err := New(Options{ProxyMark: testMark, Hierarchy: b.hierarchy, Pins: store, KeepPins: takeOver})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { i.Close() })
		return i
	}
	first := load(false)
	plan := b.plan(80, "192.0.2.80/32")
	if err := first.Apply(plan); err != nil {
		t.Fatal(err)
	}
	mine := programsAt(t, b.dir)
	second := load(true)
	if err := second.Apply(plan); err != nil {
		t.Fatal(err)
	}
	if now := programsAt(t, b.dir); slices.Equal(now, mine) {
		t.Error("the second did not take over")
	}
	second.Close()
	if err := first.Reclaim(); err != nil {
		t.Fatal(err)
	}
	if now := programsAt(t, b.dir); !slices.Equal(now, mine) {
		t.Errorf("programs %v, want %v again", now, mine)
	}
}

// TestForeignState starts on a directory with what other versions, and mistakes, may leave there.
func TestForeignState(t *testing.T) {
	h := kerneltest.Hierarchy(t)
	name := fmt.Sprintf("weir-test-%d-foreign", os.Getpid())
	dir := kerneltest.Cgroup(t, h, name)
	server := direct(t, "127.0.0.1:0")
	fs := kerneltest.BPFFS(t)
	pinnedDaemon(t, fs, name, "closed")(syscall.SIGKILL)
	states, err := pin.List(fs)
	if err != nil || len(states) != 1 || len(states[0].Versions) != 1 {
		t.Fatalf("state %+v (%v)", states, err)
	}
	version := filepath.Join(states[0].Dir, states[0].Versions[0].Layout)
	check := func(t *testing.T, want ...string) {
		t.Helper()
		var notices []string
		i, err := New(Options{Hierarchy: h, Pins: pintest.Open(t, fs), KeepPins: true, Notice: func(text string) { notices = append(notices, text) }})
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		b := &bench{Interceptor: i, hierarchy: h, dir: dir, name: name}
		b.capture(t)
		b.apply(t, &steer.Plan{Cgroups: []string{name}, FailClosed: true, Rules: []steer.Rule{{
			Prefix: netip.MustParsePrefix("127.0.0.0/8"), Port: server.Port(), Action: steer.Redirect,
		}}})
		if ans := client(t, dir, request{Addr: server.String()}); ans.Greeting != "captured" || ans.Peer != server.String() {
			t.Errorf("client: %+v", ans)
		}
		if n := len(programsAt(t, dir)); n != 1 {
			t.Errorf("%d programs at connect4", n)
		}
		for _, w := range want {
			if !strings.Contains(strings.Join(notices, "\n"), w) {
				t.Errorf("notices %q do not say %q", notices, w)
			}
		}
		left, err := pin.List(fs)
		if err != nil || len(left) != 1 || len(left[0].Versions) != 1 || left[0].Versions[0].Links != len((&objects{}).hooks()) {
			t.Errorf("state afterwards: %+v (%v)", left, err)
		}
	}
	t.Run("another version", func(t *testing.T) {
		if err := os.Rename(version, filepath.Join(states[0].Dir, "0123456789ab")); err != nil {
			t.Fatal(err)
		}
		check(t, "removed pinned state of another version: "+states[0].Dir+"/0123456789ab")
	})
	t.Run("a map is missing", func(t *testing.T) {
		if err := os.Remove(filepath.Join(version, "map_weir_flows")); err != nil {
			t.Fatal(err)
		}
		check(t, "pinned map weir_flows in "+version+" cannot be used", "removed pinned state of another version: "+states[0].Dir+"/corrupt_")
	})
	t.Run("a map of another kind", func(t *testing.T) {
		other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		path := filepath.Join(version, "map_weir_handoff")
		if err := errors.Join(os.Remove(path), other.Pin(path)); err != nil {
			t.Fatal(err)
		}
		check(t, "pinned map weir_handoff in "+version+" cannot be used: Type: Array changed to LRUHash")
	})
	t.Run("links that are none", func(t *testing.T) {
		links, err := filepath.Glob(filepath.Join(version, "link_*"))
		if err != nil || len(links) != len((&objects{}).hooks()) {
			t.Fatal(links, err)
		}
		// One under another's name, a map under a link's name, and a half-made directory.
		if err := errors.Join(os.Remove(links[0]), os.Rename(links[1], links[0])); err != nil {
			t.Fatal(err)
		}
		other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := errors.Join(other.Pin(links[1]), os.Mkdir(filepath.Join(states[0].Dir, "new_1"), 0o700)); err != nil {
			t.Fatal(err)
		}
		check(t, "pinned link "+links[0]+" is not used: it is a link at", "pinned link "+links[1]+" is not used", "new_1")
	})
	if err := pin.Discard(states[0]); err != nil {
		t.Error(err)
	}
}

func TestExclusiveProgramIsNamed(t *testing.T) {
	b := newBench(t)
	other := pass(t, ebpf.AttachCGroupInet4Connect)
	target, err := os.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := link.RawAttachProgram(link.RawAttachProgramOptions{Target: int(target.Fd()), Program: other, Attach: ebpf.AttachCGroupInet4Connect}); err != nil {
		t.Fatal(err)
	}
	detach := func() {
		if err := link.RawDetachProgram(link.RawDetachProgramOptions{Target: int(target.Fd()), Program: other, Attach: ebpf.AttachCGroupInet4Connect}); err != nil {
			t.Error(err)
		}
	}
	below := kerneltest.Cgroup(t, b.hierarchy, b.name+"/below")
	for _, dir := range []string{b.dir, below} {
		plan := b.plan(80, "192.0.2.80/32")
		plan.Cgroups = []string{b.hierarchy.Name(dir)}
		err := b.Apply(plan)
		var exclusive *attach.ExclusiveError
		if !errors.As(err, &exclusive) || exclusive.Cgroup != b.dir || exclusive.Program.Name != "dummy" || !errors.Is(err, syscall.EPERM) {
			t.Errorf("attach to %s: %v, want the program named", dir, err)
		}
	}
	foreign, err := Foreign(b.hierarchy, below)
	if err != nil || len(foreign) != 1 || foreign[0].Name != "dummy" || foreign[0].Cgroup != b.dir {
		t.Errorf("foreign programs %+v (%v)", foreign, err)
	}
	detach()
	captured := func() bool {
		t.Helper()
		dirs, err := Captured(b.hierarchy)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(dirs, b.dir)
	}
	if captured() {
		t.Error("it is captured by somebody else's program")
	}
	b.apply(t, b.plan(80, "192.0.2.80/32"))
	if !captured() {
		t.Error("it is not known to be captured")
	}
}

// TestRestore has somebody remove pins under a daemon that runs: some of them, then the directory with the lock.
func TestRestore(t *testing.T) {
	fs := kerneltest.BPFFS(t)
	store := pintest.Open(t, fs)
	bench := newBench(t)
	b, err := New(Options{ProxyMark: testMark, Hierarchy: bench.hierarchy, Pins: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.Apply(bench.plan(80, "192.0.2.80/32")); err != nil {
		t.Fatal(err)
	}
	whole := pintest.State(t, fs).Versions[0]
	pintest.Restore(t, fs, b, whole, 0)
	dir := filepath.Join(store.Dir(), whole.Layout)
	for _, pattern := range []string{"map_weir_flows", "link_*Connect*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s (%v)", pattern, err)
		}
		for _, name := range names {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	pintest.Restore(t, fs, b, whole, 3)
	if err := os.RemoveAll(store.Dir()); err != nil {
		t.Fatal(err)
	}
	pintest.Restore(t, fs, b, whole, whole.Maps+whole.Links)
}

func TestNewForeign(t *testing.T) {
	b := newBench(t)
	below := []string{kerneltest.Cgroup(t, b.hierarchy, b.name+"/one"), kerneltest.Cgroup(t, b.hierarchy, b.name+"/two")}
	other := pass(t, ebpf.AttachCGroupInet6Connect)
	l, err := link.AttachCgroup(link.CgroupOptions{Path: b.dir, Attach: ebpf.AttachCGroupInet6Connect, Program: other})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for n, dir := range below {
		plan := b.plan(80, "192.0.2.80/32")
		plan.Cgroups = []string{b.hierarchy.Name(dir)}
		b.apply(t, plan)
		for try, want := range []int{1 - n, 0} { // the second cgroup has nothing new to tell of, and no cgroup has twice
			foreign, err := b.NewForeign()
			ours := slices.DeleteFunc(foreign, func(f ForeignProgram) bool { return f.Cgroup != b.dir })
			if err != nil || len(ours) != want {
				t.Errorf("cgroup %d, call %d: %+v (%v), want %d", n, try, foreign, err, want)
			}
			if want == 1 && (ours[0].Name != "dummy" || ours[0].Hook != ebpf.AttachCGroupInet6Connect.String() || ours[0].Order != AfterWeir) {
				t.Errorf("foreign program %+v", ours[0])
			}
		}
	}
}

// TestForeignBefore has somebody else's program below, or on the same cgroup and there first: it runs before weir's.
func TestForeignBefore(t *testing.T) {
	b := newBench(t)
	below := kerneltest.Cgroup(t, b.hierarchy, b.name+"/one")
	l, err := link.AttachCgroup(link.CgroupOptions{Path: below, Attach: ebpf.AttachCGroupInet4Connect, Program: pass(t, ebpf.AttachCGroupInet4Connect)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	found := func(want Order) {
		t.Helper()
		foreign, err := Foreign(b.hierarchy, below)
		foreign = slices.DeleteFunc(foreign, func(f ForeignProgram) bool { return f.Cgroup != below })
		if err != nil || len(foreign) != 1 || foreign[0].Order != want {
			t.Errorf("foreign programs %+v (%v), want one with order %d", foreign, err, want)
		}
	}
	found(NotBeside)
	b.apply(t, b.plan(80, "192.0.2.80/32")) // on the cgroup above
	found(BeforeWeir)
	plan := b.plan(80, "192.0.2.80/32")
	plan.Cgroups = []string{b.hierarchy.Name(below)}
	b.apply(t, plan)
	found(BeforeWeir)
}

// pass is somebody else's program: it lets everything pass.
func pass(t *testing.T, at ebpf.AttachType) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "dummy", Type: ebpf.CGroupSockAddr, AttachType: at, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program
}
