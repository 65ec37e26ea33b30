package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// clangVersion is the one that the committed object was compiled by.
const clangVersion = "version 14."

// bpfObject is a source in bpf/ and the package that embeds its object, so that each has programs and maps of its own.
type bpfObject struct{ name, dir string }

// bpfObjects lists all: bpf/NAME.bpf.c becomes DIR/NAME_bpfel.o. A new object is one line here.
func bpfObjects() []bpfObject {
	return []bpfObject{
		{"weir", "pkg/kernel/intercept"},
		{"policy", "pkg/kernel/intercept"},
		{"inbound", "pkg/kernel/inbound"},
		{"udp", "pkg/kernel/datagram"},
		{"accel", "pkg/kernel/accel"},
	}
}

func (o bpfObject) source() string { return o.name + ".bpf.c" }

func (o bpfObject) output() output { return output{o.dir + "/" + o.name + "_bpfel.o", o.compile} }

// compile needs no header of the machine (-nostdinc), and paths do not reach the object: debug sections, which have them, are
// stripped, and BTF's line information has them relative to the compilation's directory.
func (o bpfObject) compile(ctx context.Context, root string) ([]byte, error) {
	clang, err := tool(ctx, clangVersion, "clang-14", "clang")
	if err != nil {
		return nil, err
	}
	strip, err := tool(ctx, clangVersion, "llvm-strip-14", "llvm-strip")
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "weir-generate-")
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	defer os.RemoveAll(temp)
	object := filepath.Join(temp, o.name+"_bpfel.o")
	source := filepath.Join(root, "bpf")
	err = command(ctx, source, clang,
		// -mcpu=v3 has 32-bit jumps and arithmetic, Linux 5.1 and later.
		"-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-nostdinc",
		"-Wall", "-Wextra", "-Werror", "-fdebug-compilation-dir=/weir/bpf", "-ffile-prefix-map="+root+"=/weir",
		"-c", o.source(), "-o", object)
	if err != nil {
		return nil, err
	}
	if err := command(ctx, source, strip, "-g", object); err != nil {
		return nil, err
	}
	return os.ReadFile(object)
}
