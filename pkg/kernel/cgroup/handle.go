package cgroup

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// kernfsHandle is FILEID_KERNFS (linux/exportfs.h): a file handle that is the id of a cgroup.
const kernfsHandle = 0xfe

// ByID returns the directory of the cgroup with an id. It looks at no other cgroup, and needs CAP_DAC_READ_SEARCH in the initial user
// namespace. The error for a cgroup that has gone is unix.ESTALE.
func (h *Hierarchy) ByID(id uint64) (string, error) {
	root, err := unix.Open(h.Root(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open cgroup root %s: %w", h.Root(), err)
	}
	defer unix.Close(root)
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(root, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("open cgroup %d by its id: %w", id, err)
	}
	defer unix.Close(fd)
	dir, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", fmt.Errorf("find directory of cgroup %d: %w", id, err)
	}
	// A directory that was removed in between is named "... (deleted)".
	if found, err := ID(dir); err != nil || found != id {
		return "", fmt.Errorf("find directory of cgroup %d: %w", id, unix.ESTALE)
	}
	return dir, nil
}
