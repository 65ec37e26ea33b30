package explain_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// proxyMark is the mark of weir's own sockets, by which the kernel side knows them.
const proxyMark = 0x4321

// attached loads the real programs for a cgroup made for the test.
func attached(t *testing.T, b *bed) (k *intercept.Interceptor, name string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	name = "/" + kerneltest.CgroupName(t)
	kerneltest.Cgroup(t, kerneltest.Hierarchy(t), name)
	var err error
	if k, err = intercept.New(intercept.Options{ProxyMark: proxyMark}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.manager.OpenCapture(); err != nil {
		t.Fatal(err)
	}
	v4, v6 := b.manager.CaptureAddrs()
	if err := k.SetCapture(0, v4, v6); err != nil {
		t.Fatal(err)
	}
	plan, _ := steer.Compile(b.snap)
	plan.Cgroups = []string{name}
	if err := k.Apply(plan); err != nil {
		t.Fatal(err)
	}
	return k, name
}

// TestRealKernel asks the kernel itself, about processes that are really there.
func TestRealKernel(t *testing.T) {
	b := newBed(t)
	k, name := attached(t, b)
	b.opt.Kernel = func() explain.Kernel { return k }
	b.opt.Caller = explain.HostCaller
	e := explain.New(b.opt)
	before, err := k.Counters()
	if err != nil {
		t.Fatal(err)
	}
	same, elsewhere := stranger(t, 0), stranger(t, syscall.CLONE_NEWNET)
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := h.Path(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{same, elsewhere} {
		if err := cgroup.Move(dir, pid); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, query, outcome, reason string }{
		{"no caller", "dst=10.99.0.3:5432", explain.OutcomeForwarded, "captured"},
		{"its cgroup", "dst=10.99.0.3:5432&cgroup=" + name, explain.OutcomeForwarded, "captured"},
		{"IPv6", "dst=[fd00:99::9]:443", explain.OutcomeClosed, "captured"},
		{"a process in it", fmt.Sprintf("dst=10.99.0.3:5432&pid=%d", same), explain.OutcomeForwarded, "captured"},
		{"another namespace", fmt.Sprintf("dst=10.99.0.3:5432&pid=%d", elsewhere), explain.OutcomeNotSeen, "other_netns"},
		{"a process elsewhere", fmt.Sprintf("dst=10.99.0.3:5432&pid=%d", os.Getpid()), explain.OutcomeNotSeen, "captured"},
		{"loopback", "dst=127.0.0.1:9", explain.OutcomeNotSeen, "pass_rule"},
		{"the capture socket", "dst=" + capture(b).String(), explain.OutcomeNotSeen, "capture_socket"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, e, tt.query)
			want := intercept.ReasonNone
			for want.String() != tt.reason {
				want++
			}
			reason := a.Steps[0].Details[0].Value
			if a.Outcome != tt.outcome || reason != tt.reason+": "+want.Text() {
				t.Errorf("outcome %s, reason %s\n%s", a.Outcome, reason, a.Text())
			}
		})
	}
	after, err := k.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("explaining counts:\n%s", diff)
	}
}

// TestOffloaded asks about listeners that the kernel stands in for.
func TestOffloaded(t *testing.T) {
	b := newBed(t)
	k, name := attached(t, b)
	b.opt.Kernel = func() explain.Kernel { return k }
	b.opt.Caller = explain.HostCaller
	e := explain.New(b.opt)
	endpoint := netip.MustParseAddrPort("10.1.2.3:4567")
	rule := func(addr, service string) steer.Rule {
		return steer.Rule{Prefix: netip.PrefixFrom(netip.MustParseAddr(addr), 32), Port: 80, Action: steer.Offload, Listener: service, Service: service, Origin: "a test"}
	}
	if err := k.ApplyServices([]*steer.Service{
		{Name: "shop", Cluster: "web", MaxConnections: 1, Endpoints: []steer.Endpoint{{Addr: endpoint, Cluster: "web"}}}, {Name: "empty", Cluster: "web", MaxConnections: 1},
	}, nil); err != nil {
		t.Fatal(err)
	}
	plan := steer.Plan{Cgroups: []string{name}, Rules: []steer.Rule{rule("10.99.7.1", "shop"), rule("10.99.7.2", "empty")}}
	if err := k.Apply(&plan); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ query, outcome, verdict string }{
		{"dst=10.99.7.1:80", explain.OutcomeOffloaded, "endpoint 10.1.2.3:4567 of service shop"},
		{"dst=10.99.7.2:80", explain.OutcomeRefused, "connect() fails"},
		{fmt.Sprintf("dst=10.99.7.1:80&pid=%d", os.Getpid()), explain.OutcomeNotSeen, "does not see"},
	}
	for _, tt := range tests {
		if a := ask(t, e, tt.query); a.Outcome != tt.outcome || !strings.Contains(a.Verdict, tt.verdict) {
			t.Errorf("%s: outcome %s, want %s\n%s", tt.query, a.Outcome, tt.outcome, a.Text())
		}
	}
}

func capture(b *bed) netip.AddrPort {
	v4, _ := b.manager.CaptureAddrs()
	return v4
}

// stranger is a process that waits for the test's end.
func stranger(t *testing.T, flags uintptr) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "cat")
	if _, err := cmd.StdinPipe(); err != nil { // never closed: it waits
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	return cmd.Process.Pid
}

func TestHostCaller(t *testing.T) {
	if _, err := explain.HostCaller("", 0); err == nil {
		t.Error("nobody was found")
	}
	if _, err := explain.HostCaller("/weir-not-there", 0); err == nil {
		t.Error("a missing cgroup was found")
	}
	c, err := explain.HostCaller("", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	again, err := explain.HostCaller(c.Cgroup, 0)
	if err != nil || again != c || c.ID == 0 || c.OtherNetns {
		t.Errorf("got %+v and %+v, %v", c, again, err)
	}
}

// TestChosenSource gives questions without a source the one that the kernel would choose.
func TestChosenSource(t *testing.T) {
	b := newBed(t)
	b.opt.SourceAddr = func(netns string, datagram bool, dst netip.AddrPort) (netip.Addr, bool) {
		if netns != "" || datagram || dst.Addr().IsLoopback() {
			t.Errorf("asked for %s in %q, %t", dst, netns, datagram)
		}
		return netip.MustParseAddr("192.0.2.1"), dst.Addr().String() == "10.99.0.4"
	}
	e := explain.New(b.opt)
	for _, tc := range []struct{ query, outcome, says string }{
		{"dst=10.99.0.4:5432", explain.OutcomeForwarded, "client 192.0.2.1, which the kernel would choose for the destination"},
		{"dst=10.99.0.4:5432&src=192.0.3.1", explain.OutcomeClosed, "rules denies: no policy matches"},
		{"dst=203.0.113.9:9", explain.OutcomeForwarded, "source 127.0.0.1"},
		{"dst=127.0.0.1:9&assume_captured", explain.OutcomeForwarded, "source 127.0.0.1"},
	} {
		a := ask(t, e, tc.query)
		if text := strings.Join(strings.Fields(a.Text()), " "); a.Outcome != tc.outcome || !strings.Contains(text, tc.says) {
			t.Errorf("%s: %s, want %s with %q:\n%s", tc.query, a.Outcome, tc.outcome, tc.says, text)
		}
	}
}
