package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Types of programs and of attachment (linux/bpf.h) of what runs for a connection that is left alone.
var hooks = [...]struct{ program, attach uint32 }{
	{18, 10}, // BPF_CGROUP_INET4_CONNECT
	{13, 3},  // BPF_CGROUP_SOCK_OPS
	{9, 34},  // BPF_CGROUP_INET_SOCK_RELEASE
}

// attachEmpty attaches programs that do nothing to a cgroup, where weir has some. They are detached by detach.
func (r *rig) attachEmpty(group string) (detach func() error, err error) {
	dir, err := os.Open(filepath.Join(r.hierarchy.Root(), group))
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	defer dir.Close()
	var links []int
	detach = func() error {
		var failed []error
		for _, fd := range links {
			failed = append(failed, unix.Close(fd))
		}
		return errors.Join(failed...)
	}
	for _, h := range hooks {
		l, err := attachOne(int(dir.Fd()), h.program, h.attach)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach an empty program: %w", err), detach())
		}
		links = append(links, l)
	}
	return detach, nil
}

func attachOne(cgroup int, program, attach uint32) (link int, err error) {
	code := [2]uint64{1<<32 | 0xb7, 0x95} // r0 = 1; exit
	licence := [...]byte{'G', 'P', 'L', 0}
	load := struct {
		kind, count        uint32
		code, licence      unsafe.Pointer
		logLevel, logSize  uint32
		log                uint64
		version, flags     uint32
		name               [16]byte
		ifindex, attachFor uint32
	}{kind: program, count: uint32(len(code)), code: unsafe.Pointer(&code), licence: unsafe.Pointer(&licence), attachFor: attach}
	fd, _, errno := syscall.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(int(fd))
	create := struct{ program, target, attach, flags uint32 }{uint32(fd), uint32(cgroup), attach, 0}
	l, _, errno := syscall.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&create)), unsafe.Sizeof(create))
	return int(l), failure(errno)
}
