package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommittedFilesAreCurrent is the drift check, where the pinned compilers are installed.
func TestCommittedFilesAreCurrent(t *testing.T) {
	if _, err := tool(t.Context(), clangVersion, "clang-14", "clang"); err != nil {
		t.Skip(err)
	}
	if _, err := tool(t.Context(), protocVersion, "protoc"); err != nil {
		t.Skip(err)
	}
	if err := run(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestSettle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := settle(path, []byte("a"), true); err == nil {
		t.Error("a missing file passes the check")
	}
	if err := settle(path, []byte("a"), false); err != nil {
		t.Fatal(err)
	}
	if err := settle(path, []byte("a"), true); err != nil {
		t.Error(err)
	}
	if err := settle(path, []byte("b"), true); err == nil {
		t.Error("another content passes the check")
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "a" {
		t.Errorf("the check wrote %q (%v)", content, err)
	}
}

func TestToolRefusesOtherVersions(t *testing.T) {
	_, err := tool(t.Context(), "version 0.", "go", "no-such-compiler")
	if err == nil || !strings.Contains(err.Error(), "version 0.") {
		t.Errorf("error %v, want one that names the version", err)
	}
}

// TestEverySourceHasAnObject finds a bpf/*.bpf.c that nobody compiles.
func TestEverySourceHasAnObject(t *testing.T) {
	root, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob(filepath.Join(root, "bpf", "*.bpf.c"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no source in bpf (%v)", err)
	}
	listed := make(map[string]bool)
	for _, object := range bpfObjects() {
		listed[object.source()] = true
	}
	for _, source := range sources {
		if name := filepath.Base(source); !listed[name] {
			t.Errorf("bpf/%s is not listed in bpfObjects", name)
		}
	}
}
