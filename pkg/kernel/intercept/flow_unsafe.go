package intercept

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lookupAttr is what bpf(2) is given for a map's entry: the second member of union bpf_attr.
type lookupAttr struct {
	mapFD      uint32
	_          uint32
	key, value unsafe.Pointer
	flags      uint64
}

// takeFlow takes an entry out of weir_handoff, which happens for each captured connection. The call is raw, as it never waits: one
// that the scheduler is told of would wake up the thread that watches over calls.
func takeFlow(handoff int, pair *wirePair, flow *wireFlow) error {
	attr := lookupAttr{mapFD: uint32(handoff), key: unsafe.Pointer(pair), value: unsafe.Pointer(flow)}
	_, _, errno := syscall.RawSyscall(unix.SYS_BPF, unix.BPF_MAP_LOOKUP_AND_DELETE_ELEM, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return errno
	}
	return nil
}
