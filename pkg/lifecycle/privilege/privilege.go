// Package privilege gives up the capabilities that a daemon needs no longer once it serves.
//
// It owns the table of what weir does after its start and which capability that takes, and the system calls that give the others up
// for the whole process. It must not know configuration. It has no state besides that of the process, and cannot be undone.
package privilege

import (
	"fmt"
	"math/bits"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is a set of capabilities (capabilities(7)), a bit for each number.
type Set uint64

// Of makes a set of capabilities.
func Of(capabilities ...uint) Set {
	var s Set
	for _, c := range capabilities {
		s |= 1 << c
	}
	return s
}

// Names of the capabilities in ascending order of their numbers, such as CAP_NET_ADMIN; a number that has no name here is given as
// CAP_NUMBER.
func (s Set) Names() []string {
	out := make([]string, 0, bits.OnesCount64(uint64(s)))
	for c := uint(0); c < 64; c++ {
		if s&(1<<c) == 0 {
			continue
		}
		name := fmt.Sprint(c)
		if c < uint(len(names)) {
			name = names[c]
		}
		out = append(out, "CAP_"+name)
	}
	return out
}

// String lists the names; "none" for none.
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	return strings.Join(s.Names(), " ")
}

// names by number (include/uapi/linux/capability.h), as of Linux 6.18.
var names = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
	"SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
	"AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// Needs say what a daemon may come to do once it serves.
type Needs struct {
	// Intercept loads programs, attaches them to cgroups that come, and writes their maps.
	Intercept bool
	// Namespaces opens sockets in other network namespaces, and finds those of captured processes.
	Namespaces bool
	// Mount mounts a BPF file system.
	Mount bool
}

// Capabilities are those that a daemon with these needs goes on to use.
func (n Needs) Capabilities() Set {
	// Ports below 1024 that LDS brings. SO_MARK, IP_TRANSPARENT and other options of sockets. Access logs, unix sockets and keys of
	// other users. Pipes of spliced connections beyond the soft limit for a user (pipe(7)).
	s := Of(unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_RESOURCE)
	if n.Intercept {
		// Programs and maps; the verifier's rules for those who may see kernel pointers. Raw sockets that tell captured clients of UDP
		// that a host refuses.
		s |= Of(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_RAW)
	}
	if n.Namespaces {
		// setns(CLONE_NEWNET); /proc/PID/ns of processes of others.
		s |= Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE)
	}
	if n.Mount {
		s |= Of(unix.CAP_SYS_ADMIN)
	}
	return s
}

// State is what a process may do.
type State struct {
	// Permitted are its capabilities, Bounding those that a program which it executes could come by.
	Permitted, Bounding Set
	// NoNewPrivileges is set when execve(2) gives nothing that the process has not.
	NoNewPrivileges bool
}

// Read gives the state of the calling thread, which is that of the process unless somebody has changed single threads.
func Read() (State, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return State{}, fmt.Errorf("read capabilities: %w", err)
	}
	out := State{Permitted: Set(data[0].Permitted) | Set(data[1].Permitted)<<32}
	for c := range uint(64) {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			break // the kernel has no capability of this number, nor of a greater one
		}
		if has == 1 {
			out.Bounding |= 1 << c
		}
	}
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return State{}, fmt.Errorf("read no_new_privs: %w", err)
	}
	out.NoNewPrivileges = set == 1
	return out, nil
}

// Drop gives up all capabilities but those of keep that the process has, for all its threads, and those to come: permitted,
// effective, inheritable and ambient ones, and with CAP_SETPCAP those of the bounding set; then no_new_privs is set. It returns what is
// left. It is an error in a binary that was built with cgo, whose threads the Go runtime does not all know (syscall.ENOTSUP).
func Drop(keep Set) (State, error) {
	before, err := Read()
	if err != nil {
		return before, err
	}
	keep &= before.Permitted
	if before.Permitted&Of(unix.CAP_SETPCAP) != 0 {
		for c := range uint(64) {
			if (before.Bounding&^keep)&(1<<c) == 0 {
				continue
			}
			if err := prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil {
				return before, fmt.Errorf("drop %s from the bounding set: %w", Of(c), err)
			}
		}
	}
	if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return before, fmt.Errorf("clear ambient capabilities: %w", err)
	}
	if err := capset(keep); err != nil {
		return before, fmt.Errorf("drop capabilities: %w", err)
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return before, fmt.Errorf("set no_new_privs: %w", err)
	}
	return Read()
}
