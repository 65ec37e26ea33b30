package conntest

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Namespace makes a network namespace with nothing but a loopback device, which is up when up says so. It lives as long as the
// test, or as a socket in it.
func Namespace(t testing.TB, up bool) *streaminfo.Namespace {
	t.Helper()
	work, ready := make(chan func()), make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil && up {
			err = LoopbackUp()
		}
		ready <- err
		for f := range work {
			f()
		}
	}()
	t.Cleanup(func() { close(work) })
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	n := &streaminfo.Namespace{Name: t.Name()}
	n.Inside = func(f func() error) error {
		done := make(chan error)
		work <- func() { done <- f() }
		return <-done
	}
	var err error
	if inside := n.Inside(func() error { n.Cookie, err = cookie(); return err }); inside != nil {
		t.Fatal(inside)
	}
	return n
}

func cookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// LoopbackUp switches the loopback device of the calling thread's network namespace on.
func LoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch loopback device on: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("switch loopback device on: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("switch loopback device on: %w", err)
	}
	return nil
}
