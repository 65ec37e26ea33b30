package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
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
	if err := cleanup(h, stdio{nil, &out, &errs}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(empty); !os.IsNotExist(err) {
		t.Errorf("the empty cgroup is still there: %v", err)
	}
	if _, err := os.Stat(busy); err != nil {
		t.Errorf("the cgroup in use is gone: %v", err)
	}
	for _, want := range []string{name + ".empty: removed", name + ".busy: kept: there are processes in it"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
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
			if lines := strings.Count(errs.String(), "\n"); lines > 16 {
				t.Errorf("the error drowns in %d lines", lines)
			}
		})
	}
}
