package demo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// The shop's name for the service, and its addresses, which no device and no route of any host knows.
const (
	host = "inventory.shop"
	ipv4 = "10.99.0.1"
	ipv6 = "fd00:99::1"
)

// place is what the demonstration makes on the host, beside processes.
type place struct {
	dir string // temporary directory
	// group is the directory of the cgroup whose connections are captured, name the same relative to the root.
	group, name string
}

// isolate gives this process, which is in new namespaces, a loopback device and an /etc/hosts that knows the shop.
func (p place) isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	files := map[string]string{
		"/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n" + ipv4 + " " + host + "\n" + ipv6 + " " + host + "\n",
		// Nothing but the file: a name service of the host's cannot be reached from here, and knows nothing of the shop.
		"/etc/nsswitch.conf": "hosts: files\n",
	}
	for path, text := range files {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		own := filepath.Join(p.dir, filepath.Base(path))
		if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s of the demonstration: %w", path, err)
		}
		if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", path, err)
		}
	}
	return loopbackUp()
}

// loopbackUp switches on the only device of a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("switch on loopback: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("switch on loopback: %w", err)
	}
	// Container runtimes switch IPv6 off for new devices. Where it cannot be switched on, the story goes without.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("0"), 0)
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("switch on loopback: %w", err)
	}
	return nil
}

// speaksIPv6 tells whether the loopback device has its IPv6 address.
func speaksIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	_ = l.Close() // it was only to see
	return true
}

// remove ends what runs in the cgroup and removes the cgroup and the directory. It may run more than once.
func (p place) remove(h *cgroup.Hierarchy) error {
	// Before Linux 5.14 there is no such file; then the processes have been waited for all the same.
	if f, err := os.OpenFile(filepath.Join(p.group, "cgroup.kill"), os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("1") // a cgroup that is not empty is reported below
		_ = f.Close()
	}
	deadline := time.Now().Add(3 * time.Second)
	err := h.Remove(p.group)
	for errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // processes that were killed are still ending
		err = h.Remove(p.group)
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}
