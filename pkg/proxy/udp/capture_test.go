package udp

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Where there is no IPv6 on loopback, or no loopback yet, the socket for IPv4 is there nevertheless.
func TestOpenCaptureWithoutIPv6(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		sockets, err := openCapture(0, true)
		if !errors.Is(err, syscall.EADDRNOTAVAIL) || len(sockets) != 1 || sockets[0] == nil || sockets[0].bound.Port() == 0 {
			t.Errorf("got %v, %v", sockets, err)
			return
		}
		sockets[0].shut()
	}()
	<-done
}
