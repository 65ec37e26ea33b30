package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// archive is an initramfs in the making: cpio in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	out  bytes.Buffer
	made map[string]bool
	next int
}

func newArchive() *archive { return &archive{made: map[string]bool{"": true, ".": true}} }

// entry writes one member. Names have no leading slash.
func (a *archive) entry(name string, mode uint32, data []byte) {
	a.next++
	fields := []int{a.next, int(mode), 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0}
	a.out.WriteString("070701")
	for _, f := range fields {
		fmt.Fprintf(&a.out, "%08X", f)
	}
	a.out.WriteString(name + "\x00")
	a.pad()
	a.out.Write(data)
	a.pad()
}

// pad fills up to a multiple of four bytes.
func (a *archive) pad() { a.out.Write(make([]byte, (4-a.out.Len()%4)%4)) }

// Types of members, as st_mode has them.
const (
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeLink    = 0o120000
)

// folder makes a directory and those above it, once.
func (a *archive) folder(name string) {
	if a.made[name] {
		return
	}
	a.folder(parent(name))
	a.made[name] = true
	a.entry(name, modeDir|0o755, nil)
}

func parent(name string) string {
	if dir := filepath.Dir(name); dir != "." {
		return dir
	}
	return ""
}

func (a *archive) file(name string, mode uint32, data []byte) {
	if a.made[name] {
		return
	}
	a.made[name] = true
	a.folder(parent(name))
	a.entry(name, modeRegular|mode, data)
}

// tree adds a directory of the host.
func (a *archive) tree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("pack %s: %w", from, err)
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name := filepath.Join(to, rel)
		if d.IsDir() {
			a.folder(strings.TrimPrefix(name, "."))
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("pack %s: %w", path, err)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		a.file(name, uint32(info.Mode().Perm()), data)
		return nil
	})
}

// program adds a program of the host with the libraries that it is linked to, where the loader looks for them.
func (a *archive) program(name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	a.file(filepath.Join("bin", name), 0o755, data)
	return a.libraries(path)
}

// libraries adds what an ELF file needs, and what that needs.
func (a *archive) libraries(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read libraries of %s: %w", path, err)
	}
	if s := f.Section(".interp"); s != nil {
		data, err := s.Data()
		if err != nil {
			return fmt.Errorf("read loader of %s: %w", path, err)
		}
		if err := a.library(strings.TrimRight(string(data), "\x00")); err != nil {
			return err
		}
	}
	for _, name := range needed {
		at := slices.IndexFunc(libraryFolders, func(dir string) bool { return exists(filepath.Join(dir, name)) })
		if at < 0 {
			return fmt.Errorf("find library %s of %s: not in %s", name, path, strings.Join(libraryFolders, ", "))
		}
		if err := a.library(filepath.Join(libraryFolders[at], name)); err != nil {
			return err
		}
	}
	return nil
}

// libraryFolders are where Debian keeps libraries.
var libraryFolders = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib"}

func (a *archive) library(path string) error {
	name := strings.TrimPrefix(path, "/")
	if a.made[name] {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	a.file(name, 0o755, data)
	return a.libraries(path)
}

// list adds what the guest is to run.
func (a *archive) list(name string, suites []suite) error {
	var todo []task
	for _, s := range suites {
		todo = append(todo, task{Name: s.name, Binary: "/" + s.testBinary(), Run: s.run, Skip: s.skip})
	}
	data, err := json.Marshal(todo)
	if err != nil {
		return fmt.Errorf("write list of suites: %w", err)
	}
	a.file(name, 0o644, data)
	return nil
}

// bytes is the archive without its end: another may follow, and the kernel unpacks both.
func (a *archive) bytes() []byte { return a.out.Bytes() }

// end closes the archive.
func (a *archive) end() { a.entry("TRAILER!!!", 0, nil) }

// task is a suite as the guest sees it.
type task struct{ Name, Binary, Run, Skip string }
