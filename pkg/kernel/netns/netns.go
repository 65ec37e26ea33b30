package netns

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/sock"
)

// ErrNoNamespace is returned for a file that is no network namespace.
var ErrNoNamespace = errors.New("not a network namespace")

// ID tells namespaces apart that exist at the same time. The kernel gives the number of one that is gone to a later one; a cookie
// is never used again.
type ID struct {
	// Device and Inode of the namespace's file, as stat(2) reports them.
	Device, Inode uint64
}

// Namespace is an open network namespace.
type Namespace struct {
	file   *os.File
	id     ID
	cookie uint64
	name   string
}

// Current opens the network namespace of the calling thread. Its name is empty.
func Current() (*Namespace, error) { return open("/proc/thread-self/ns/net", "") }

// OfProcess opens the network namespace that a process's main thread is in. Its name is "pid " and the process's id.
func OfProcess(pid int) (*Namespace, error) {
	return open(processPath(pid), "pid "+strconv.Itoa(pid))
}

// Open opens the network namespace that a path stands for, such as /run/netns/NAME or /proc/PID/ns/net. Its name is the path.
func Open(path string) (*Namespace, error) { return open(path, path) }

// CurrentID tells the network namespace of the calling thread without opening it, for which no privilege is needed.
func CurrentID() (ID, error) { return Stat("/proc/thread-self/ns/net") }

// OfProcessID tells the network namespace of a process without opening it.
func OfProcessID(pid int) (ID, error) { return Stat(processPath(pid)) }

// Stat tells the namespace of a file without opening it. A file of another kind gets an ID that no namespace has.
func Stat(path string) (ID, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return ID{}, fmt.Errorf("look at network namespace %s: %w", path, err)
	}
	return ID{Device: stat.Dev, Inode: stat.Ino}, nil
}

func processPath(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }

func open(path, name string) (*Namespace, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	n := &Namespace{file: file, name: name}
	if err := n.identify(); err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, errors.Join(err, file.Close()))
	}
	return n, nil
}

// identify learns the namespace's numbers, for which it has to be entered.
func (n *Namespace) identify() error {
	kind, err := unix.IoctlRetInt(int(n.file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return ErrNoNamespace
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(n.file.Fd()), &stat); err != nil {
		return fmt.Errorf("read its number: %w", err)
	}
	n.id = ID{Device: stat.Dev, Inode: stat.Ino}
	return n.Do(func() error {
		n.cookie, err = sock.NetnsCookie()
		return err
	})
}

// ID is what tells the namespace from others of the same time.
func (n *Namespace) ID() ID { return n.id }

// Cookie is the namespace's SO_NETNS_COOKIE, which no other namespace ever has while the host runs.
func (n *Namespace) Cookie() uint64 { return n.cookie }

// Inode is the number in "net:[4026531840]", by which people know the namespace.
func (n *Namespace) Inode() uint64 { return n.id.Inode }

// Name says where the namespace was found; see Current, OfProcess and Open.
func (n *Namespace) Name() string { return n.name }

// place is what errors call the namespace: its name, or what people know it by.
func (n *Namespace) place() string { return cmp.Or(n.name, fmt.Sprintf("net:[%d]", n.id.Inode)) }

// Close lets go of the namespace. What was opened inside it stays open.
func (n *Namespace) Close() error {
	if err := n.file.Close(); err != nil {
		return fmt.Errorf("close network namespace %s: %w", n.place(), err)
	}
	return nil
}

// Do calls f on a thread that is in the namespace and waits for it. The goroutine of f is another one than the caller's; it must
// do there what it came for, mostly create sockets, and leave: goroutines that it starts are outside. A thread that could not
// be brought back ends, so that nothing else ever runs on it. The error is f's, or says why f was not called.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, clean := n.within(f)
		if clean {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// within moves the calling thread into the namespace for the length of f. clean is whether it is back where it was.
func (n *Namespace) within(f func() error) (err error, clean bool) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: open the thread's own: %w", n.place(), err), true
	}
	defer unix.Close(home)
	if err := n.enter(); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", n.place(), err), true
	}
	err = f()
	return err, unix.Setns(home, unix.CLONE_NEWNET) == nil
}

func (n *Namespace) enter() error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Setns(int(fd), unix.CLONE_NEWNET) }); err != nil {
		return os.ErrClosed // the only reason there is
	}
	return failed
}
