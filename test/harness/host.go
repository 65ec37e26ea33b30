package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a network namespace of its own, with loopback up. It has no name, so it goes by itself with the last process, socket
// and descriptor in it.
type Host struct {
	t     testing.TB
	netns *os.File
	// inode of the namespace, by which the kernel tells namespaces apart.
	inode uint64
	// using is held while a thread enters the namespace: clients may still dial, for nobody, when the test ends.
	using    sync.RWMutex
	released bool
}

// NewHost makes a host; its namespace is let go when the test ends, and it is an error when something still holds it then.
func NewHost(t testing.TB) *Host {
	t.Helper()
	h := &Host{t: t}
	if err := h.create(); err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(h.release)
	h.mustRun("ip", "link", "set", "lo", "up")
	return h
}

// create makes the namespace on a thread that goes back to its own afterwards.
func (h *Host) create() error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		if h.netns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		var stat unix.Stat_t
		if err := unix.Fstat(int(h.netns.Fd()), &stat); err != nil {
			return err
		}
		h.inode = stat.Ino
		return nil
	})
}

func (h *Host) release() {
	h.using.Lock()
	h.released = true
	h.netns.Close()
	h.using.Unlock()
	for _, pid := range h.processes() {
		h.t.Errorf("process %s still runs in the test's network namespace", pid)
	}
}

// processes lists the pids whose main thread is in the namespace.
func (h *Host) processes() []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/" + e.Name() + "/ns/net")
		if err == nil && target == fmt.Sprintf("net:[%d]", h.inode) {
			comm, _ := os.ReadFile("/proc/" + e.Name() + "/comm") // it may be gone; the pid says enough
			pids = append(pids, e.Name()+" "+strings.TrimSpace(string(comm)))
		}
	}
	return pids
}

// onThread runs f on a thread of its own and brings that back into the network namespace it came from. When that is impossible
// the thread ends with the goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer before.Close()
		err = f()
		if back := unix.Setns(int(before.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Do runs f inside the namespace. Sockets that f makes and processes that it starts are of the host from then on; goroutines
// that it starts are not.
func (h *Host) Do(f func() error) error {
	return onThread(func() error {
		if err := h.enter(); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// enter moves the calling thread into the namespace.
func (h *Host) enter() error {
	h.using.RLock()
	defer h.using.RUnlock()
	if h.released {
		return errors.New("it was let go")
	}
	return unix.Setns(int(h.netns.Fd()), unix.CLONE_NEWNET)
}

// mustRun runs a command that sets the host up.
func (h *Host) mustRun(args ...string) {
	h.t.Helper()
	err := h.Do(func() error {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// AddAddress gives the host addresses, on its loopback device.
func (h *Host) AddAddress(addrs ...string) *Host {
	h.t.Helper()
	for _, a := range addrs {
		addr := netip.MustParseAddr(a)
		args := []string{"ip", "addr", "add", netip.PrefixFrom(addr, addr.BitLen()).String(), "dev", "lo"}
		if addr.Is6() {
			args = append(args, "nodad")
		}
		h.mustRun(args...)
	}
	return h
}

// Listen opens a TCP listener on the host.
func (h *Host) Listen(addr string) net.Listener {
	h.t.Helper()
	var l net.Listener
	// A socket that was closed here may be open for another moment in a process that is being started.
	EventuallyNil(h.t, "listen on "+addr, func() error {
		err := h.Do(func() (err error) {
			l, err = net.Listen("tcp", addr)
			return err
		})
		if err != nil && !errors.Is(err, unix.EADDRINUSE) {
			h.t.Fatalf("listen on %s: %v", addr, err)
		}
		return err
	})
	return l
}

// Dial connects from the host to a numeric address.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// MustDial is Dial for tests that cannot go on without; the connection is closed with the test and has a deadline of Patience.
func (h *Host) MustDial(addr string) *net.TCPConn {
	h.t.Helper()
	conn, err := h.Dial(h.t.Context(), "tcp", addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		h.t.Fatal(err)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		h.t.Fatalf("dial %s: got a %T", addr, conn)
	}
	return tcp
}

// Client is an HTTP client on the host that keeps connections and follows no redirects.
func (h *Host) Client() *http.Client {
	transport := &http.Transport{DialContext: h.Dial, DisableCompression: true, MaxIdleConnsPerHost: 64}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: Patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Link connects two hosts by a pair of virtual Ethernet devices. Each gets an address of the prefix, such as 192.0.2.0/30:
// the first host the first one.
func Link(a, b *Host, prefix string) {
	a.t.Helper()
	p := netip.MustParsePrefix(prefix)
	first := p.Addr().Next()
	device := fmt.Sprintf("weir%d", b.inode)
	// The peer is made in b at once, by the descriptor that stands for its namespace.
	a.mustRun("ip", "link", "add", device, "type", "veth", "peer", "name", device,
		"netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), b.netns.Fd()))
	for h, addr := range map[*Host]netip.Addr{a: first, b: first.Next()} {
		args := []string{"ip", "addr", "add", netip.PrefixFrom(addr, p.Bits()).String(), "dev", device}
		if addr.Is6() { // else nobody is answered while the kernel asks whether somebody else has it
			args = append(args, "nodad")
		}
		h.mustRun(args...)
		h.mustRun("ip", "link", "set", device, "up")
	}
}

// AddRoute sends a prefix to another host, by one of its addresses.
func (h *Host) AddRoute(prefix, via string) {
	h.t.Helper()
	h.mustRun("ip", "route", "add", prefix, "via", via)
}

// Swallow loses what comes for a prefix without a word.
func (h *Host) Swallow(prefix string) {
	h.t.Helper()
	h.mustRun("ip", "route", "add", "blackhole", prefix)
}

// Runs tells whether a program of that name runs on the host.
func (h *Host) Runs(name string) bool {
	for _, p := range h.processes() {
		if strings.HasSuffix(p, " "+name) {
			return true
		}
	}
	return false
}

// HTTP2Client is an HTTP client on the host that speaks HTTP/2 with prior knowledge.
func (h *Host) HTTP2Client() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{DialContext: h.Dial, Protocols: protocols, DisableCompression: true}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * Patience}
}
