package accel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
)

// Mode says into whose sockets bytes are redirected.
type Mode uint8

// Modes.
const (
	// Receive: into the proxy's own.
	Receive Mode = iota
	// Full: also into those of applications that were named.
	Full
)

// String is the mode's name.
func (m Mode) String() string {
	if m == Full {
		return "full"
	}
	return "receive"
}

// minimum is the oldest kernel on which a mode is right, and what older ones do wrong.
var minimum = [...]struct {
	major, minor uint32
	flaw         string
}{
	// Up to 5.18 a socket leaves its maps when TCP is done with it, not when it is closed.
	Receive: {5, 19, "what waits in a socket past TCP is lost when TCP is done with the socket"},
	// Up to 6.12 nothing tells how much waits.
	Full: {6, 13, "what waits in a socket past TCP does not count against its receive buffer"},
}

// Supported tells whether this kernel can do it right, as far as its version and a look at its features tell; the error says what
// it lacks, or is known to do wrong. SelfTest tries it.
func Supported(m Mode) error {
	code, err := features.LinuxVersionCode()
	if err != nil {
		return fmt.Errorf("read the kernel's version: %w", err)
	}
	return supported(m, code>>16, code>>8&0xff, lacking())
}

func supported(m Mode, major, minor uint32, lacks error) error {
	if least := minimum[m]; major<<8|minor < least.major<<8|least.minor {
		return fmt.Errorf("%s needs Linux %d.%d, this is %d.%d: %s", m, least.major, least.minor, major, minor, least.flaw)
	}
	return lacks
}

// lacking looks for what the programs need.
func lacking() error {
	if _, err := btf.LoadKernelSpec(); err != nil {
		return fmt.Errorf("the kernel has no type information (CONFIG_DEBUG_INFO_BTF): %w", err)
	}
	for _, h := range []struct {
		of   ebpf.ProgramType
		name asm.BuiltinFunc
	}{
		{ebpf.SockOps, asm.FnSockHashUpdate},
		{ebpf.SockOps, asm.FnSkcToTcpSock},
		{ebpf.SockOps, asm.FnGetNetnsCookie},
		{ebpf.SkMsg, asm.FnMsgRedirectHash},
		{ebpf.SkMsg, asm.FnSkcToTcpSock},
		{ebpf.SkMsg, asm.FnSkStorageGet},
		{ebpf.SkMsg, asm.FnGetNetnsCookie},
	} {
		err := features.HaveProgramHelper(h.of, h.name)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("the kernel has no %s for programs of type %s (CONFIG_BPF_STREAM_PARSER?)", h.name, h.of)
		}
		if err != nil {
			return fmt.Errorf("look for %s: %w", h.name, err)
		}
	}
	return nil
}
