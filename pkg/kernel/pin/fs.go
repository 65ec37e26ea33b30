package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Places of the BPF file system.
const (
	// DefaultFS is where the kernel expects it and systemd mounts it.
	DefaultFS = "/sys/fs/bpf"
	// PrivateFS is where weir mounts one of its own on a host that has no directory DefaultFS.
	PrivateFS = "/run/weir/bpf"
)

// home is the directory below the file system that all of weir's are in.
const home = "weir"

// Mounted tells whether a BPF file system is mounted at dir. A directory that does not exist is none.
func Mounted(dir string) (bool, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(dir, &stat)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(stat.Type) == unix.BPF_FS_MAGIC, nil
}

// Mount returns where a BPF file system is, and mounts one where there is none: at dir if that is not empty, else at DefaultFS,
// else, where the host has no such directory, at PrivateFS. It is never unmounted, as it holds the state.
func Mount(dir string) (string, error) {
	if dir == "" {
		if dir = DefaultFS; !exists(dir) {
			dir = PrivateFS
		}
	}
	switch ok, err := Mounted(dir); {
	case err != nil:
		return "", fmt.Errorf("find BPF file system: %w", err)
	case ok:
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("mount BPF file system: %w", err)
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RELATIME, "mode=0700"); err != nil {
		return "", fmt.Errorf("mount BPF file system at %s: %w", dir, err)
	}
	return dir, nil
}

// Places lists the directories in which there may be a BPF file system with state: dir alone if it is not empty.
func Places(dir string) []string {
	if dir != "" {
		return []string{dir}
	}
	return []string{DefaultFS, PrivateFS}
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

// instanceDir is where the state of an instance is.
func instanceDir(dir, instance string) string { return filepath.Join(dir, home, instance) }
