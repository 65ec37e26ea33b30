package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modules that the tests need and that Debian builds apart; what these depend on comes with them.
var modules = []string{"veth", "inet_diag", "tcp_diag", "udp_diag"}

// kernel is an unpacked package.
type kernel struct {
	release string
	vmlinuz string
	modules string // the directory of this release
}

// fetch downloads the newest kernel of a series and unpacks it, once.
func (m *matrix) fetch(ctx context.Context, name, meta string) (*kernel, error) {
	pkg, err := newest(ctx, meta)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(m.dir, pkg)
	if !exists(dir) {
		fmt.Printf("kernel %s: fetching %s\n", name, pkg)
		if err := m.download(ctx, pkg, dir); err != nil {
			return nil, err
		}
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("unpack %s: want one boot/vmlinuz-*, found %d", pkg, len(images))
	}
	k := &kernel{vmlinuz: images[0], release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		if at := filepath.Join(dir, lib, k.release); exists(at) {
			k.modules = at
		}
	}
	if k.modules == "" {
		return nil, fmt.Errorf("unpack %s: no modules of %s", pkg, k.release)
	}
	return k, nil
}

// newest is the package that a meta package depends on.
func newest(ctx context.Context, meta string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", meta).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("apt-cache depends %s: %w: %s", meta, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if pkg, found := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); found && strings.HasPrefix(pkg, "linux-image-") {
			return pkg, nil
		}
	}
	return "", fmt.Errorf("apt-cache depends %s: no linux-image among them (apt-get update?)", meta)
}

// download unpacks a package into dir, which appears when it is complete.
func (m *matrix) download(ctx context.Context, pkg, dir string) error {
	temp, err := os.MkdirTemp(m.dir, "fetch-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(temp)
	fetch := exec.CommandContext(ctx, "apt-get", "download", pkg)
	fetch.Dir = temp
	if out, err := fetch.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get download %s: %w: %s", pkg, err, out)
	}
	debs, err := filepath.Glob(filepath.Join(temp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s: want one package, found %d", pkg, len(debs))
	}
	if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], filepath.Join(temp, "root")).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", pkg, err, out)
	}
	if err := os.Rename(filepath.Join(temp, "root"), dir); err != nil {
		return fmt.Errorf("unpack %s: %w", pkg, err)
	}
	return nil
}

// image writes the initramfs: the root file system, and the modules in the order in which they are to be loaded.
func (k *kernel) image(root []byte, path string) error {
	a := newArchive()
	order, err := k.order()
	if err != nil {
		return err
	}
	for n, file := range order {
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("pack module: %w", err)
		}
		a.file(fmt.Sprintf("modules/%02d-%s", n, filepath.Base(file)), 0o644, data)
	}
	a.end()
	if err := os.WriteFile(path, append(bytes.Clone(root), a.bytes()...), 0o644); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}

// order finds the files of the modules, each after those that it depends on. Modules that are built in have none.
func (k *kernel) order() ([]string, error) {
	needs, files, err := k.dependencies()
	if err != nil {
		return nil, err
	}
	var order []string
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] || files[name] == "" {
			return
		}
		seen[name] = true
		for _, other := range needs[name] {
			visit(other)
		}
		order = append(order, files[name])
	}
	for _, name := range modules {
		visit(name)
	}
	return order, nil
}

// dependencies reads what each module needs from the modules themselves (.modinfo): packages come without modules.dep.
func (k *kernel) dependencies() (needs map[string][]string, files map[string]string, err error) {
	needs, files = map[string][]string{}, map[string]string{}
	out, err := exec.Command("find", k.modules, "-name", "*.ko*").Output()
	if err != nil {
		return nil, nil, fmt.Errorf("list modules: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		path := strings.TrimSpace(line)
		name, _, _ := strings.Cut(filepath.Base(path), ".ko")
		files[strings.ReplaceAll(name, "-", "_")] = path
	}
	var read func(name string) error
	read = func(name string) error {
		if _, done := needs[name]; done || files[name] == "" {
			return nil
		}
		if needs[name], err = depends(files[name]); err != nil {
			return err
		}
		for _, other := range needs[name] {
			if err := read(other); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range modules {
		if err := read(name); err != nil {
			return nil, nil, err
		}
	}
	return needs, files, nil
}

// depends is the module's own list. Compressed modules are read through xz or zstd.
func depends(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	for suffix, tool := range map[string]string{".xz": "xz", ".zst": "zstd"} {
		if err == nil && strings.HasSuffix(file, suffix) {
			data, err = exec.Command(tool, "-dc", file).Output()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", filepath.Base(file), err)
	}
	fields := bufio.NewScanner(bytes.NewReader(data))
	fields.Buffer(nil, len(data)+1)
	fields.Split(zeroes)
	for fields.Scan() {
		at := bytes.LastIndex(fields.Bytes(), []byte("depends="))
		if at < 0 {
			continue
		}
		var names []string
		for name := range strings.SplitSeq(string(fields.Bytes()[at+len("depends="):]), ",") {
			if name != "" {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
		return names, nil
	}
	return nil, fields.Err()
}

// zeroes splits at zero bytes.
func zeroes(data []byte, end bool) (int, []byte, error) {
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return at + 1, data[:at], nil
	}
	if end && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
