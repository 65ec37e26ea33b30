package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// unwanted parts of Python's library, by name: they are large, and no test's client imports them.
var unwanted = []string{"__pycache__", "site-packages", "dist-packages", "test", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo"}

// python adds the host's Python with its library, in two folders of one place: it looks for the one from the other, but never at
// the root.
func (a *archive) python(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "python3", "-c",
		"import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'))").Output()
	if err != nil {
		return fmt.Errorf("find python3: %w", err)
	}
	program, library, ok := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !ok {
		return fmt.Errorf("find python3: it printed %q", out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("pack %s: %w", program, err)
	}
	a.file("usr/bin/python3", 0o755, data)
	if err := a.libraries(program); err != nil {
		return err
	}
	return a.pythonLibrary(library, filepath.Join("usr/lib", filepath.Base(library)))
}

// pythonLibrary adds modules and, of those in C, the libraries that they are linked to where the host has them.
func (a *archive) pythonLibrary(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("pack %s: %w", from, err)
		}
		if d.IsDir() {
			if slices.Contains(unwanted, d.Name()) || strings.HasPrefix(d.Name(), "config-") {
				return fs.SkipDir
			}
			return nil
		}
		compiled := filepath.Ext(path) == ".so"
		if !compiled && filepath.Ext(path) != ".py" {
			return nil
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
		if compiled && a.libraries(path) != nil {
			return nil // such as that for a database which the host does not have either
		}
		a.file(filepath.Join(to, rel), 0o644, data)
		return nil
	})
}
