package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// clangVersion is the one that the committed object was compiled by.
const clangVersion = "version 14."

// compileBPF compiles bpf/weir.bpf.c. No header of the machine is used (-nostdinc), and paths do not reach the object: debug
// sections, which have them, are stripped, and BTF's line information has them relative to the compilation's directory.
func compileBPF(ctx context.Context, root string) ([]byte, error) {
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
	object := filepath.Join(temp, "weir_bpfel.o")
	source := filepath.Join(root, "bpf")
	err = command(ctx, source, clang,
		// -mcpu=v3 has 32-bit jumps and arithmetic, Linux 5.1 and later.
		"-target", "bpfel", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-nostdinc",
		"-Wall", "-Wextra", "-Werror", "-fdebug-compilation-dir=/weir/bpf", "-ffile-prefix-map="+root+"=/weir",
		"-c", "weir.bpf.c", "-o", object)
	if err != nil {
		return nil, err
	}
	if err := command(ctx, source, strip, "-g", object); err != nil {
		return nil, err
	}
	return os.ReadFile(object)
}
