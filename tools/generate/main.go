// Command generate makes the files of this repository that are made from others: the BPF objects from bpf/ and the Go code of
// weir's own protobuf messages. They are committed, so that building weir needs Go alone.
//
// Usage, from anywhere below the repository:
//
//	go run ./tools/generate          write the files
//	go run ./tools/generate -check   exit with status 1 if one is not what it would write
//
// It needs clang 14 and llvm-strip of the same version, and protoc 3.21. These versions are pinned: the same compiler gives the
// same bytes, on any machine and from any directory, and anything else would make -check useless.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "compare with the committed files instead of writing them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		stop()
		os.Exit(1)
	}
}

// output is a file to make: its path below the root and how to make its content.
type output struct {
	path string
	make func(ctx context.Context, root string) ([]byte, error)
}

func outputs() []output {
	outs := []output{
		{"pkg/api/weir/interception/v1/interception.pb.go", compileProto("weir/interception/v1/interception.proto")},
	}
	for _, object := range bpfObjects() {
		outs = append(outs, object.output())
	}
	return outs
}

func run(ctx context.Context, check bool) error {
	root, err := repositoryRoot()
	if err != nil {
		return err
	}
	var failed []error
	for _, out := range outputs() {
		content, err := out.make(ctx, root)
		if err == nil {
			err = settle(filepath.Join(root, out.path), content, check)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", out.path, err))
		}
	}
	return errors.Join(failed...)
}

// settle writes the file, or compares it.
func settle(path string, content []byte, check bool) error {
	committed, err := os.ReadFile(path)
	if err == nil && bytes.Equal(committed, content) {
		return nil
	}
	if check {
		if err != nil {
			return err
		}
		return fmt.Errorf("is not what its sources give (%d bytes, should be %d); run make generate",
			len(committed), len(content))
	}
	return os.WriteFile(path, content, 0o644)
}

// repositoryRoot is the closest directory upwards that has a go.mod.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find repository: no go.mod here or above")
		}
		dir = parent
	}
}

// tool returns the first of the commands whose --version output contains want.
func tool(ctx context.Context, want string, names ...string) (string, error) {
	var seen []string
	for _, name := range names {
		out, err := exec.CommandContext(ctx, name, "--version").CombinedOutput()
		if err != nil {
			continue
		}
		if strings.Contains(string(out), want) {
			return name, nil
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		seen = append(seen, first)
	}
	return "", fmt.Errorf("find %s with %q in its version: have %q", names[0], want, seen)
}

// command runs a tool in dir and puts what it printed into the error.
func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", name, err, out)
	}
	return nil
}
