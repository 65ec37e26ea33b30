package pin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/kerneltest"
)

func open1(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestOwner(t *testing.T) {
	fs := kerneltest.BPFFS(t)
	first := open1(t, Options{FS: fs, Instance: "0"})
	_, err := Open(Options{FS: fs, Instance: "0"})
	var busy *BusyError
	if !errors.As(err, &busy) || len(busy.PIDs) != 1 || busy.PIDs[0] != os.Getpid() {
		t.Fatalf("second owner: %v, want this process named", err)
	}
	if other, err := Open(Options{FS: fs, Instance: "1"}); err != nil {
		t.Errorf("another instance: %v", err)
	} else if err := errors.Join(other.Remove(), other.Close()); err != nil {
		t.Error(err)
	}
	heir := open1(t, Options{FS: fs, Instance: "0", TakeOver: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := heir.Lock(ctx); !errors.As(err, &busy) {
		t.Errorf("lock while the first has it: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := heir.Lock(t.Context()); err != nil {
		t.Errorf("lock after the first: %v", err)
	}
	if err := heir.Remove(); err != nil {
		t.Error(err)
	}
}

func TestMapsComeBack(t *testing.T) {
	o := Options{FS: kerneltest.BPFFS(t), Instance: "0"}
	specs := map[string]*ebpf.MapSpec{
		"a": {Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1},
		"b": {Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1},
	}
	layout := Layout(1, specs, nil)
	made := make(map[string]*ebpf.Map)
	for name, spec := range specs {
		m, err := ebpf.NewMap(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		made[name] = m
	}
	if err := made["a"].Put(uint32(0), uint32(42)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.Maps(layout, specs); all != nil || err != nil {
		t.Fatalf("maps of an empty state: %v (%v)", all, err)
	}
	if err := errors.Join(s.Commit(made, false), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open1(t, o)
	all, err := s.Maps(layout, specs)
	if err != nil || len(all) != 2 {
		t.Fatalf("maps %v (%v)", all, err)
	}
	var value uint32
	if err := all["a"].Lookup(uint32(0), &value); err != nil || value != 42 {
		t.Errorf("value %d (%v), want 42", value, err)
	}
	for _, m := range all {
		m.Close()
	}
	// Another layout finds nothing, and sweeps the first.
	if all, err := s.Maps("ffffffffffff", specs); all != nil || err != nil {
		t.Errorf("maps of another layout: %v (%v)", all, err)
	}
	if removed, err := s.Sweep(); err != nil || len(removed) != 1 || removed[0] != layout {
		t.Errorf("swept %q (%v)", removed, err)
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
	if states, err := List(o.FS); err != nil || len(states) != 0 {
		t.Errorf("left %+v (%v)", states, err)
	}
}

func TestLayoutSeesEveryMember(t *testing.T) {
	four := &btf.Int{Size: 4}
	value := func(members ...btf.Member) map[string]*ebpf.MapSpec {
		return map[string]*ebpf.MapSpec{"m": {Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 1, Value: &btf.Struct{Name: "v", Size: 8, Members: members}}}
	}
	base := Layout(1, value(btf.Member{Name: "a", Type: four}, btf.Member{Name: "b", Type: four, Offset: 32}), []string{"p"})
	for name, other := range map[string]string{
		"members exchanged": Layout(1, value(btf.Member{Name: "b", Type: four}, btf.Member{Name: "a", Type: four, Offset: 32}), []string{"p"}),
		"another program":   Layout(1, value(btf.Member{Name: "a", Type: four}, btf.Member{Name: "b", Type: four, Offset: 32}), []string{"p", "q"}),
		"another epoch":     Layout(2, value(btf.Member{Name: "a", Type: four}, btf.Member{Name: "b", Type: four, Offset: 32}), []string{"p"}),
	} {
		if other == base {
			t.Errorf("%s: the layout is the same", name)
		}
	}
	if again := Layout(1, value(btf.Member{Name: "a", Type: four}, btf.Member{Name: "b", Type: four, Offset: 32}), []string{"p"}); again != base {
		t.Errorf("the layout of the same is %s, then %s", base, again)
	}
}

func TestOpenFails(t *testing.T) {
	fs := kerneltest.BPFFS(t)
	if _, err := Mount(fs); err != nil {
		t.Fatal(err)
	}
	for _, instance := range []string{"", "a.b", "../x", "a/b"} {
		if _, err := Open(Options{FS: fs, Instance: instance}); err == nil || !strings.Contains(err.Error(), "is not a name") {
			t.Errorf("instance %q: %v", instance, err)
		}
	}
	if err := unix.Mount("", fs, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{FS: fs, Instance: "0"}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("read-only: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{FS: filepath.Join(file, "below"), Instance: "0"}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	if states, err := List(fs, filepath.Join(fs, "none")); err != nil || len(states) != 0 {
		t.Errorf("states %+v (%v)", states, err)
	}
}

func TestParseLink(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cgroup uint64
		hook   string
		ok     bool
	}{
		{"link_12_CGroupInet4Connect", 12, "CGroupInet4Connect", true},
		{"link_12_", 12, "", true},
		{"link_12", 0, "", false},
		{"link_x_CGroupInet4Connect", 0, "", false},
		{"map_weir_flows", 0, "", false},
	} {
		if cgroup, hook, ok := parseLink(tt.name); ok != tt.ok || ok && (cgroup != tt.cgroup || hook != tt.hook) {
			t.Errorf("%s: %d %q %t", tt.name, cgroup, hook, ok)
		}
	}
}
