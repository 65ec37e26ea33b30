package netns

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/sock"
)

// fresh makes a network namespace that lives as long as its handle, and nothing else.
func fresh(t *testing.T) *Namespace {
	t.Helper()
	own, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	var n *Namespace
	if err := own.Do(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n, err = Current()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func current(t *testing.T) *Namespace {
	t.Helper()
	n, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestIdentity(t *testing.T) {
	own, other := current(t), fresh(t)
	cookie, err := sock.NetnsCookie()
	if err != nil {
		t.Fatal(err)
	}
	if own.Cookie() != cookie {
		t.Errorf("own cookie %d, want %d", own.Cookie(), cookie)
	}
	if own.ID() == other.ID() || own.Cookie() == other.Cookie() {
		t.Errorf("two namespaces look the same: %+v %d, %+v %d", own.ID(), own.Cookie(), other.ID(), other.Cookie())
	}
	again, err := OfProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.ID() != own.ID() || again.Cookie() != own.Cookie() || again.Inode() != own.Inode() {
		t.Errorf("own process is in %+v, want %+v", again.ID(), own.ID())
	}
	if id, err := OfProcessID(os.Getpid()); err != nil || id != own.ID() {
		t.Errorf("id of own process %+v (%v), want %+v", id, err, own.ID())
	}
	if id, err := CurrentID(); err != nil || id != own.ID() {
		t.Errorf("id of own thread %+v (%v), want %+v", id, err, own.ID())
	}
	if want := "pid " + strconv.Itoa(os.Getpid()); again.Name() != want {
		t.Errorf("name %q, want %q", again.Name(), want)
	}
}

// TestMounted opens a namespace by a name, as `ip netns add` leaves it.
func TestMounted(t *testing.T) {
	n := fresh(t)
	path := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	source := "/proc/self/fd/" + strconv.Itoa(int(n.file.Fd()))
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	named, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	if named.Cookie() != n.Cookie() || named.Name() != path {
		t.Errorf("opened %s with cookie %d, want %s with %d", named.Name(), named.Cookie(), path, n.Cookie())
	}
}

func TestOpenRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path string
		want       error
	}{
		{"missing", plain + "-not", fs.ErrNotExist},
		{"plain file", plain, ErrNoNamespace},
		{"pipe", fifo, ErrNoNamespace},
		{"other kind of namespace", "/proc/self/ns/mnt", ErrNoNamespace},
		{"directory", t.TempDir(), ErrNoNamespace},
	} {
		t.Run(test.name, func(t *testing.T) {
			if n, err := Open(test.path); !errors.Is(err, test.want) {
				t.Errorf("opened %v: %v, want %v", n, err, test.want)
			}
		})
	}
}

func TestDo(t *testing.T) {
	own, other := current(t), fresh(t)
	inside := func() uint64 {
		cookie, err := sock.NetnsCookie()
		if err != nil {
			t.Error(err)
		}
		return cookie
	}
	wrong := errors.New("wrong")
	err := other.Do(func() error {
		if got := inside(); got != other.Cookie() {
			t.Errorf("inside the cookie is %d, want %d", got, other.Cookie())
		}
		return own.Do(func() error {
			if got := inside(); got != own.Cookie() {
				t.Errorf("nested inside the cookie is %d, want %d", got, own.Cookie())
			}
			return wrong
		})
	})
	if !errors.Is(err, wrong) {
		t.Errorf("error %v, want that of the function", err)
	}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 50 {
				other.Do(func() error { return nil })
				if got := inside(); got != own.Cookie() {
					t.Errorf("outside the cookie is %d, want %d", got, own.Cookie())
				}
			}
		})
	}
	all.Wait()
}

// TestSocketStays shows what the package is for: a socket that was made inside is inside wherever it is used.
func TestSocketStays(t *testing.T) {
	n := fresh(t)
	var fd int
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil || cookie != n.Cookie() {
		t.Errorf("cookie of the socket %d (%v), want %d", cookie, err, n.Cookie())
	}
	// A new namespace's loopback device is down.
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9}
	if err := unix.Connect(fd, to); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("connect without a network: %v, want %v", err, unix.ENETUNREACH)
	}
}

func TestClosed(t *testing.T) {
	n := fresh(t)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	err := n.Do(func() error { t.Error("called"); return nil })
	if !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), "enter network namespace net:["+strconv.FormatUint(n.Inode(), 10)+"]: ") {
		t.Errorf("entered a closed handle: %v", err)
	}
	if err := n.Close(); err == nil {
		t.Error("closed twice without an error")
	}
}

// TestMovedThread moves the thread somewhere else meanwhile.
func TestMovedThread(t *testing.T) {
	own, other := current(t), fresh(t)
	for range 20 {
		err := other.Do(func() error {
			return unix.Unshare(unix.CLONE_NEWNET)
		})
		if err != nil {
			t.Fatal(err)
		}
		if cookie, err := sock.NetnsCookie(); err != nil || cookie != own.Cookie() {
			t.Fatalf("cookie %d (%v), want %d", cookie, err, own.Cookie())
		}
	}
}

// TestNothingLeaks opens and closes many, and counts descriptors and threads.
func TestNothingLeaks(t *testing.T) {
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	cycle := func() {
		n := fresh(t)
		var l net.Listener
		if err := n.Do(func() (err error) {
			l, err = net.Listen("tcp4", "127.0.0.1:0")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		l.Close()
		n.Close()
	}
	for range 20 {
		cycle()
	}
	files, threads := count("/proc/self/fd"), count("/proc/self/task")
	for range 200 {
		cycle()
	}
	if now := count("/proc/self/fd"); now > files {
		t.Errorf("%d descriptors, %d before", now, files)
	}
	if now := count("/proc/self/task"); now > threads+8 {
		t.Errorf("%d threads, %d before", now, threads)
	}
}

// BenchmarkDo is what a new upstream connection in another namespace costs beside the connection.
func BenchmarkDo(b *testing.B) {
	n, err := Current()
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	for b.Loop() {
		if err := n.Do(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
