package intercept

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/test/await"
	"github.com/weir-proxy/weir/test/leak"
)

// runDaemon intercepts in the cgroup until it is killed.
func runDaemon(name string) error {
	opts := Options{}
	if fs := os.Getenv("WEIR_TEST_BPFFS"); fs != "" {
		var err error
		if opts.Pins, err = pin.Open(pin.Options{FS: fs, Instance: "test"}); err != nil {
			return err
		}
	}
	i, err := New(opts)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := i.SetCapture(0, addrOf(l.Addr())); err != nil {
		return err
	}
	err = i.Apply(&steer.Plan{Cgroups: []string{name}, FailClosed: os.Getenv("WEIR_TEST_POLICY") != "open", Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("127.0.0.0/8"), Action: steer.Redirect,
	}}})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprint(conn, "captured")
		conn.Close()
	}
}

func TestNothingStaysAfterSIGKILL(t *testing.T) {
	h := kerneltest.Hierarchy(t)
	name := fmt.Sprintf("weir-test-%d-kill", os.Getpid())
	dir := kerneltest.Cgroup(t, h, name)
	server := direct(t, "127.0.0.1:0")
	daemon := spawn(t, "", "daemon")
	daemon.Env = append(daemon.Env, "WEIR_TEST_CGROUP="+name)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("daemon said %q (%v)", line, err)
	}
	if ans := client(t, dir, request{Addr: server.String()}); ans.Greeting != "captured" {
		t.Errorf("while it runs: %+v, want it captured", ans)
	}
	daemon.Process.Signal(syscall.SIGKILL)
	daemon.Wait()
	await.True(t, "connections are left alone", func() bool {
		return client(t, dir, request{Addr: server.String()}).Greeting == "direct"
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	fds := leak.Files(t)
	h := kerneltest.Hierarchy(t)
	name := fmt.Sprintf("weir-test-%d-close", os.Getpid())
	dir := kerneltest.Cgroup(t, h, name)
	i, err := New(Options{Hierarchy: h})
	if err != nil {
		t.Fatal(err)
	}
	plan := &steer.Plan{Cgroups: []string{name}, Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.0/24"), Action: steer.Redirect, Listener: "shop",
	}}}
	if err := i.Apply(plan); err != nil {
		t.Fatal(err)
	}
	status, err := i.Status()
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Programs) != 6 || len(status.Cgroups) != 1 || len(status.Cgroups[0].Hooks) != 6 {
		t.Fatalf("status before: %+v", status)
	}
	for range 2 {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := i.Apply(plan); !errors.Is(err, errClosed) {
		t.Errorf("Apply after Close: %v", err)
	}
	for _, program := range status.Programs {
		// The kernel frees programs after a grace period and tells nobody.
		await.True(t, "program "+program.Name+" is gone", func() bool {
			p, err := ebpf.NewProgramFromID(ebpf.ProgramID(program.ID))
			if err == nil {
				p.Close()
			}
			return errors.Is(err, os.ErrNotExist)
		})
	}
	target, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	for _, at := range []ebpf.AttachType{ebpf.AttachCGroupInet4Connect, ebpf.AttachCGroupSockOps} {
		left, err := program.Effective(target, at, nil)
		if err != nil {
			t.Error(err)
		}
		for _, own := range status.Programs { // there may be those of other weirs
			if slices.ContainsFunc(left, func(p program.AtHook) bool { return p.ID == own.ID }) {
				t.Errorf("program %s is at %s after Close", own.Name, at)
			}
		}
	}
	target.Close()
	if now := leak.Files(t); now != fds {
		t.Errorf("%d open files after Close, %d before New", now, fds)
	}
}

func TestDefaultCgroup(t *testing.T) {
	h := kerneltest.Hierarchy(t)
	base := kerneltest.Cgroup(t, h, fmt.Sprintf("weir-test-%d-default", os.Getpid()))
	i, err := New(Options{Hierarchy: cgroup.At("/", base)})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	plan := &steer.Plan{Cgroups: []string{steer.DefaultCgroup}}
	if err := i.Apply(plan); err != nil {
		t.Fatal(err)
	}
	dir := base + "/" + steer.DefaultCgroup
	if _, err := os.Stat(dir); err == nil {
		t.Error("the default cgroup was made for a plan without rules")
	}
	plan = &steer.Plan{Cgroups: []string{"/" + steer.DefaultCgroup}, Rules: []steer.Rule{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}}
	if err := i.Apply(plan); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the default cgroup was not made: %v", err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the default cgroup is left after Close")
	}
}

func TestCgroupsComeAndGo(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	first := kerneltest.Cgroup(t, b.hierarchy, b.name+"/a1")
	plan := b.plan(80, "192.0.2.80/32")
	plan.Cgroups = []string{b.name + "/a*", b.name + "/missing"}
	b.apply(t, plan)
	if got := b.cgroups(t); got != first {
		t.Errorf("attached to %q, want %q", got, first)
	}
	second := kerneltest.Cgroup(t, b.hierarchy, b.name+"/a2")
	if err := b.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got := b.cgroups(t); got != first+" "+second {
		t.Errorf("attached to %q, want both", got)
	}
	if ans := client(t, second, request{Addr: nowhere4}); ans.Greeting != "captured" {
		t.Errorf("client in the new cgroup: %+v", ans)
	}
	status, err := b.Status()
	if err != nil || len(status.MissingCgroups) != 1 {
		t.Errorf("missing %q (%v), want one", status.MissingCgroups, err)
	}
	if err := b.hierarchy.Remove(second); err != nil {
		t.Fatal(err)
	}
	if err := b.Refresh(); err != nil {
		t.Fatal(err)
	}
	b.apply(t, b.plan(80, "192.0.2.80/32"))
	if got := b.cgroups(t); got != b.dir {
		t.Errorf("attached to %q, want the parent alone", got)
	}
	b.apply(t, nil)
	if got := b.cgroups(t); got != "" {
		t.Errorf("attached to %q, want nothing", got)
	}
}

func TestNestedCgroupsOfTwoDaemons(t *testing.T) {
	outer := newBench(t)
	outer.capture(t)
	outer.apply(t, outer.plan(80, "192.0.2.80/32"))
	inner, err := New(Options{Hierarchy: outer.hierarchy})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	dir := kerneltest.Cgroup(t, outer.hierarchy, outer.name+"/inner")
	defer inner.Close()
	plan := outer.plan(80, "198.51.100.1/32")
	plan.Cgroups = []string{outer.name + "/inner"}
	if err := inner.Apply(plan); err != nil {
		t.Fatal(err)
	}
	if ans := client(t, dir, request{Addr: nowhere4}); ans.Greeting != "captured" || ans.Peer != nowhere4 {
		t.Errorf("client below both: %+v, want it captured by the outer one", ans)
	}
	status, err := inner.Status()
	if err != nil {
		t.Fatal(err)
	}
	programs := status.Cgroups[0].Hooks[4].Programs
	if len(programs) != 2 || !programs[0].Weir || programs[1].Weir {
		t.Errorf("programs at connect4 %+v, want the inner one's, then the outer one's", programs)
	}
}

func (b *bench) cgroups(t *testing.T) string {
	t.Helper()
	status, err := b.Status()
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, c := range status.Cgroups {
		dirs = append(dirs, c.Dir)
	}
	return strings.Join(dirs, " ")
}

func TestCgroupMadeAnew(t *testing.T) {
	b := newBench(t)
	b.capture(t)
	dir := b.dir + "/again"
	plan := b.plan(80, "192.0.2.80/32")
	plan.Cgroups = []string{b.name + "/again"}
	for range 2 {
		if _, _, err := b.hierarchy.Create(b.name + "/again"); err != nil {
			t.Fatal(err)
		}
		b.apply(t, plan)
		if ans := client(t, dir, request{Addr: nowhere4}); ans.Greeting != "captured" {
			t.Errorf("client: %+v, want it captured", ans)
		}
		if err := b.hierarchy.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAttached(t *testing.T) {
	b := newBench(t)
	below := kerneltest.Cgroup(t, b.hierarchy, b.name+"/below")
	check := func(when string, want bool) {
		t.Helper()
		for _, dir := range []string{b.dir, below} {
			if got, err := Attached(dir); err != nil || got != want {
				t.Errorf("%s: %s attached: %t (%v), want %t", when, dir, got, err, want)
			}
		}
	}
	check("before", false)
	b.apply(t, b.plan(80, "192.0.2.80/32"))
	check("with a plan", true)
	b.apply(t, nil)
	check("after", false)
	if got, err := Attached(b.dir + "/missing"); err != nil || got {
		t.Errorf("missing cgroup attached: %t (%v)", got, err)
	}
}
