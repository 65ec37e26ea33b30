package intercept

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disconnect dissolves a socket's association: connect() to AF_UNSPEC, which x/sys has no address for.
func disconnect(fd int) error {
	addr := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr)), unsafe.Sizeof(addr)); errno != 0 {
		return fmt.Errorf("disconnect: %w", errno)
	}
	return nil
}
