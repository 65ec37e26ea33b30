package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

func TestCleanupRemovesWhatNothingUses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	h, err := cgroup.Find()
	if err != nil {
		t.Skip(err)
	}
	// A hierarchy of its own: other tests run at the same time, and their cgroups are empty at first.
	root, _, err := h.Create(fmt.Sprintf("cleanup-test.%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Remove(root); err != nil {
			t.Error(err)
		}
	})
	h = cgroup.At("/", root)
	name := "weir.one"
	empty, _, err := h.Create(name + ".empty")
	if err != nil {
		t.Fatal(err)
	}
	busy, _, err := h.Create(name + ".busy")
	if err != nil {
		t.Fatal(err)
	}
	cg, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer cg.Close()
	private, _, err := h.Create(fmt.Sprintf("weir.private.%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Remove(private) })
	held := exec.CommandContext(t.Context(), "cat")
	pipe, err := held.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	held.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cg.Fd())}
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pipe.Close()
		_ = held.Wait()
		_ = h.Remove(busy)
	})
	var out, errs bytes.Buffer
	try := cleaner{std: stdio{nil, &out, &errs}, dry: true}
	if err := try.cgroups(h); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(empty); err != nil || !strings.Contains(out.String(), name+".empty: would be removed\n") ||
		!strings.Contains(out.String(), name+".busy: kept: there are processes in it\n") {
		t.Errorf("a dry run: %v, it said %q", err, out.String())
	}
	out.Reset()
	c := cleaner{std: stdio{nil, &out, &errs}}
	if err := c.cgroups(h); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(empty); !os.IsNotExist(err) {
		t.Errorf("the empty cgroup is still there: %v", err)
	}
	if _, err := os.Stat(busy); err != nil {
		t.Errorf("the cgroup in use is gone: %v", err)
	}
	if _, err := os.Stat(private); err != nil {
		t.Errorf("the cgroup of a weirctl exec that begins is gone: %v", err)
	}
	for _, want := range []string{name + ".empty: removed", name + ".busy: kept: there are processes in it", "made it and runs"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
}

// pinning starts an interceptor that pins its state, and captures a cgroup, on a BPF file system of the test's own.
func pinning(t *testing.T) (k *intercept.Interceptor, name, fs string) {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil || os.Getuid() != 0 {
		t.Skipf("needs root and cgroup v2: %v", err)
	}
	dir, _, err := h.Create(fmt.Sprintf("weirctl-test.%d.%s", os.Getpid(), t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	fs = t.TempDir()
	t.Cleanup(func() {
		if err := errors.Join(h.Remove(dir), unix.Unmount(fs, 0)); err != nil {
			t.Error(err)
		}
	})
	store, err := pin.Open(pin.Options{FS: fs, Instance: "0"})
	if err != nil {
		t.Fatal(err)
	}
	if k, err = intercept.New(intercept.Options{Hierarchy: h, Pins: store, KeepPins: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	plan := &steer.Plan{Cgroups: []string{h.Name(dir)}, Rules: []steer.Rule{{
		Prefix: netip.MustParsePrefix("192.0.2.80/32"), Port: 80, Action: steer.Redirect, Listener: "shop",
	}}}
	if err := k.Apply(plan); err != nil {
		t.Fatal(err)
	}
	return k, h.Name(dir), fs
}

// TestCleanupRemovesPins leaves state alone while somebody owns it, and removes it afterwards.
func TestCleanupRemovesPins(t *testing.T) {
	k, name, fs := pinning(t)
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := h.Path(name)
	if err != nil {
		t.Fatal(err)
	}
	cleanup := func(want string, options ...bool) {
		t.Helper()
		var out, errs bytes.Buffer
		c := cleaner{std: stdio{nil, &out, &errs}, places: []string{fs}, dry: len(options) > 0}
		if err := c.pins(); err != nil || out.String() != want {
			t.Errorf("it said %q (%v), want %q", out.String(), err, want)
		}
	}
	at := filepath.Join(fs, "weir", "0")
	cleanup(at + ": kept: another process owns it\n") // the owner is this process, which does not name itself
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	cleanup(at+": would be removed: 6 attached programs on 1 cgroup, 5 maps\n", true)
	if used, err := intercept.Attached(dir); err != nil || !used {
		t.Fatalf("the programs are attached: %t (%v), want them kept", used, err)
	}
	cleanup(at + ": removed: 6 attached programs on 1 cgroup, 5 maps\n")
	if used, err := intercept.Attached(dir); err != nil || used {
		t.Errorf("the programs are attached: %t (%v), want them gone", used, err)
	}
	cleanup("")
}

func TestUnknownVerb(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"frobnicate"}, stdio{nil, &out, &errs}); status != exitUsage {
		t.Errorf("status %d", status)
	}
	for _, v := range verbs() {
		if !strings.Contains(errs.String(), v.name) {
			t.Errorf("the usage does not name %s", v.name)
		}
	}
}

func TestMisuse(t *testing.T) {
	tests := []struct {
		args string
		want string
	}{
		{"vlidate x", `weirctl: unknown command "vlidate"; did you mean validate?`},
		{"doctor now", `weirctl doctor: unexpected argument "now"`},
		{"compat --look x", `weirctl compat: unexpected arguments ["--look" "x"]`},
		{"validate --schem x", "weirctl validate: unknown option --schem; did you mean --schema?"},
		{"validate --frobnicate x", "weirctl validate: unknown option --frobnicate\n"},
		{"explain --hots a b:1", "weirctl explain: unknown option --hots; did you mean --host?"},
		{"xds serve --listen :1", "weirctl xds serve: DIR is missing"},
		{"exec ls", `weirctl exec: unexpected argument "ls": the command comes after --`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := run(t.Context(), strings.Fields(tt.args), stdio{nil, &out, &errs})
			if status != exitUsage || out.Len() > 0 || !strings.HasPrefix(errs.String(), tt.want) {
				t.Errorf("status %d, output %q, errors %q; want %q", status, out.String(), errs.String(), tt.want)
			}
			if lines := strings.Count(errs.String(), "\n"); lines > 18 {
				t.Errorf("the error drowns in %d lines", lines)
			}
		})
	}
}
