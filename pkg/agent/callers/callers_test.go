package callers

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/explain"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
)

// bed is a cgroup that looks as container runtimes make it, with processes in network namespaces of their own.
type bed struct {
	*Finder
	t        *testing.T
	h        *cgroup.Hierarchy
	id, name string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%064x", 0xbeef0000000+os.Getpid())
	id = "fade" + id[8:] + "0123"
	b := &bed{Finder: New(h, func(netns.ID) bool { return false }), t: t, h: h, id: id, name: fmt.Sprintf("/weir-callers-%d/docker-%s.scope", os.Getpid(), id)}
	b.named = t.TempDir()
	dir, _, err := h.Create(b.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := h.Remove(d); err != nil {
				t.Error(err)
			}
		}
	})
	return b
}

// start starts a process that waits, as another name, in the cgroup or not.
func (b *bed) start(name string, flags uintptr, inside bool) int {
	b.t.Helper()
	cat, err := exec.LookPath("cat")
	if err != nil {
		b.t.Fatal(err)
	}
	program := filepath.Join(b.t.TempDir(), name)
	if err := os.Symlink(cat, program); err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), program)
	if _, err := cmd.StdinPipe(); err != nil { // never closed: it waits
		b.t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	})
	if inside {
		dir, err := b.h.Path(b.name)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := cgroup.Move(dir, cmd.Process.Pid); err != nil {
			b.t.Fatal(err)
		}
	}
	return cmd.Process.Pid
}

func TestFind(t *testing.T) {
	b := newBed(t)
	mine := "wcm" + fmt.Sprint(os.Getpid())
	twice := "wct" + fmt.Sprint(os.Getpid())
	inside := b.start(mine, syscall.CLONE_NEWNET, true)
	b.start(twice, 0, false)
	b.start(twice, syscall.CLONE_NEWNET, false)
	link := filepath.Join(b.named, "blue")
	if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", inside), link); err != nil {
		t.Fatal(err)
	}
	in := func(c explain.Caller) string { return c.Cgroup }
	tests := []struct {
		text, cgroup string
		other        bool
		says         string
	}{
		{"host", "", false, "weir's own"},
		{"127.0.0.1", "", false, "weir's own"},
		{fmt.Sprintf("pid:%d", inside), b.name, true, mine},
		{fmt.Sprint(inside), b.name, true, mine},
		{"process:" + mine, b.name, true, mine},
		{mine, b.name, true, mine},
		{"cgroup:" + b.name, b.name, true, b.name},
		{b.name, b.name, true, b.name},
		{filepath.Dir(b.name), filepath.Dir(b.name), true, ""},
		{"container:" + b.id[:12], b.name, true, b.id[:12]},
		{b.id[:20], b.name, true, b.id[:12]},
		{"netns:blue", b.name, true, "blue"},
		{"blue", b.name, true, "blue"},
		{"netns:" + link, b.name, true, "blue"},
	}
	for _, tt := range tests {
		c, err := b.Find(tt.text)
		if err != nil || in(c) != tt.cgroup || c.OtherNetns != tt.other || !strings.Contains(c.Text, tt.says) {
			t.Errorf("%s: %+v (%v), want cgroup %q", tt.text, c, err, tt.cgroup)
		}
		if c.OtherNetns && c.NetnsName != "blue" && !strings.HasPrefix(c.NetnsName, "net:[") {
			t.Errorf("%s: the namespace is called %q", tt.text, c.NetnsName)
		}
	}
	if c, err := b.Find("192.0.2.77"); err != nil || !c.Remote || c.Addr != netip.MustParseAddr("192.0.2.77") {
		t.Errorf("an address elsewhere: %+v (%v)", c, err)
	}
	for text, want := range map[string]string{
		"":                    "the source is empty",
		"pid:":                "nothing is behind the colon",
		"pid:x":               "not a process id",
		"pid:4194304":         "source pid:4194304: ",
		"process:" + twice:    "is ambiguous: pid:",
		twice:                 "is ambiguous: pid:",
		mine[:len(mine)-1]:    "did you mean " + mine,
		"process:" + mine[1:]: "did you mean " + mine,
		"container:0badc0de":  "there is no such container",
		"netns:blu":           "did you mean blue",
		"cgroup:/weir-no":     "source cgroup:/weir-no: ",
	} {
		if c, err := b.Find(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v (%v), want %q", text, c, err, want)
		}
	}
}

func TestFindAddress(t *testing.T) {
	b := newBed(t)
	addr := netip.MustParseAddr("192.0.2.200")
	pids := []int{b.start("wca", syscall.CLONE_NEWNET, true), b.start("wcb", syscall.CLONE_NEWNET, false)}
	for i, pid := range pids {
		ip := func(args ...string) {
			t.Helper()
			if out, err := exec.CommandContext(t.Context(), "nsenter", append([]string{"-n", "-t", fmt.Sprint(pid), "ip"}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		ip("link", "set", "lo", "up")
		ip("addr", "add", "192.0.2.200/32", "dev", "lo")
		c, err := b.Find(addr.String())
		if i == 0 {
			if err != nil || !c.OtherNetns || c.Cgroup != b.name || c.Addr != addr {
				t.Errorf("one has it: %+v (%v)", c, err)
			}
			n, err := netns.OfProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			if cookie, _, ok := b.Home(addr, ""); !ok || cookie != n.Cookie() {
				t.Errorf("its home is %d (%t), want %d", cookie, ok, n.Cookie())
			}
			if cookie, _, ok := b.Home(netip.MustParseAddr("127.0.0.1"), fmt.Sprintf("/proc/%d/ns/net", pid)); !ok || cookie != n.Cookie() {
				t.Errorf("the home of its loopback is %d (%t), want %d", cookie, ok, n.Cookie())
			}
			n.Close()
		} else if err == nil || !strings.Contains(err.Error(), "2 network namespaces have this address") {
			t.Errorf("two have it: %+v (%v)", c, err)
		}
	}
	first, err := netns.OfProcessID(pids[0])
	if err != nil {
		t.Fatal(err)
	}
	served := *b.Finder
	served.served = func(id netns.ID) bool { return id == first }
	if c, err := served.Find(addr.String()); err != nil || c.Cgroup != b.name {
		t.Errorf("two have it, of which one is served: %+v (%v)", c, err)
	}
	if _, _, ok := b.Home(addr, ""); ok {
		t.Error("an address that two have has a home")
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"nginx", "ngnix", 2}, {"curl", "curl", 0}, {"cat", "cart", 1}, {"cart", "cat", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q and %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// FuzzFind looks that no word makes a Finder panic.
func FuzzFind(f *testing.F) {
	h, err := cgroup.Find()
	if err != nil {
		f.Skip(err)
	}
	for _, word := range []string{"host", "pid:1", "::1", "netns:x", "container:", "a/b", "process:\x00"} {
		f.Add(word)
	}
	finder := New(h, func(netns.ID) bool { return false })
	f.Fuzz(func(t *testing.T, word string) {
		if c, err := finder.Find(word); err == nil && c.Text == "" {
			t.Errorf("%q: a caller without a description: %+v", word, c)
		}
	})
}
