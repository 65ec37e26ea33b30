package inbound

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/netns"
	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
)

// namespace is a network namespace in which connections are captured. Its diagnosis socket keeps the namespace alive, as the
// proxy's listening sockets do: who added it must drop it.
type namespace struct {
	cookie  uint64
	program *ebpf.Program
	link    link.Link
	file    *os.File // the namespace itself
	diag    *sockdiag.Conn
	sinks   []netip.AddrPort
	missed  map[wireHalf]bool // sockets that the last look did not find
}

// Sink is a listening TCP socket of the proxy in a namespace.
type Sink struct {
	Socket syscall.Conn
	// Addr that it is bound to; its family is that of the connections that it gets.
	Addr netip.AddrPort
}

// AddNamespace captures in a namespace, with at most one socket of each family that was opened in it. What listens there already
// is found before the first connection is captured. Adding a namespace again replaces its sockets.
func (i *Inbound) AddNamespace(ns *netns.Namespace, sinks ...Sink) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("capture in network namespace: %w", errClosed)
	}
	for _, s := range sinks {
		if err := i.putSink(ns.Cookie(), s); err != nil {
			return fmt.Errorf("capture in network namespace %s: %w", ns.Name(), err)
		}
	}
	n := i.namespaces[ns.Cookie()]
	if n == nil {
		var err error
		if n, err = i.enter(ns); err != nil {
			return fmt.Errorf("capture in network namespace %s: %w", ns.Name(), err)
		}
	}
	n.sinks = nil
	for _, s := range sinks {
		n.sinks = append(n.sinks, s.Addr)
	}
	return nil
}

func (i *Inbound) putSink(cookie uint64, s Sink) error {
	key := wireSink{Netns: cookie, Family: familyIPv6}
	if s.Addr.Addr().Unmap().Is4() {
		key.Family = familyIPv4
	}
	raw, err := s.Socket.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = i.objects.Sinks.Put(&key, uint64(fd)) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		return fmt.Errorf("use socket %s: %w", s.Addr, err)
	}
	return nil
}

// enter looks who listens in a namespace, and then attaches.
func (i *Inbound) enter(ns *netns.Namespace) (n *namespace, err error) {
	n = &namespace{cookie: ns.Cookie()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close(i.pinned))
		}
	}()
	if err = ns.Do(func() (err error) {
		if n.diag, err = sockdiag.Open(); err != nil {
			return err
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		return n, err
	}
	if n.program, err = i.objects.loadLookup(n.cookie); err != nil {
		return n, err
	}
	i.namespaces[n.cookie] = n
	if err = i.lookIn(n); err == nil {
		if n.link, err = link.AttachNetNs(int(n.file.Fd()), n.program); err == nil {
			err = i.pinned.PinElsewhere(pinName(n.cookie), n.link)
		}
	}
	if err != nil {
		delete(i.namespaces, n.cookie)
	}
	return n, err
}

// DropNamespace ends capturing in a namespace. One that is not there is dropped already.
func (i *Inbound) DropNamespace(cookie uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.namespaces[cookie] == nil {
		return nil
	}
	if err := i.drop(cookie); err != nil {
		return fmt.Errorf("stop capturing in network namespace: %w", err)
	}
	return nil
}

func (i *Inbound) drop(cookie uint64) error {
	n := i.namespaces[cookie]
	delete(i.namespaces, cookie)
	for _, family := range []uint32{familyIPv4, familyIPv6} {
		_ = i.objects.Sinks.Delete(&wireSink{Netns: cookie, Family: family}) // it went with its socket
	}
	return n.close(i.pinned)
}

func (n *namespace) close(p *attach.Pinned) error {
	var failed []error
	if n.link != nil {
		failed = append(failed, p.Release(n.link))
	}
	if n.program != nil {
		failed = append(failed, n.program.Close())
	}
	if n.diag != nil {
		failed = append(failed, n.diag.Close())
	}
	if n.file != nil {
		failed = append(failed, n.file.Close())
	}
	return errors.Join(failed...)
}

// programs lists what runs at the hook, those of other people included.
func (n *namespace) programs() ([]Program, error) {
	result, err := program.Query(link.QueryOptions{Target: int(n.file.Fd()), Attach: ebpf.AttachSkLookup})
	switch {
	case errors.Is(err, program.ErrHidden):
		return program.Alone(n.program)
	case errors.Is(err, unix.EINVAL): // before Linux 5.9
		return nil, nil
	case err != nil:
		return nil, err
	}
	own, err := program.Describe(n.program)
	if err != nil {
		return nil, err
	}
	return program.Named(result.Programs, map[ebpf.ProgramID]string{ebpf.ProgramID(own.ID): own.Name}), nil
}
