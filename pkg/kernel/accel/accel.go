package accel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Options of an Accelerator.
type Options struct {
	// Limit is how many redirected bytes may wait in a socket, about: one message more than that at most.
	// 0 takes DefaultLimit.
	Limit uint64
}

// DefaultLimit is the bound of bytes that wait in a socket past TCP.
const DefaultLimit = 512 << 10

// sendRoom is the send buffer of a socket that redirects, as set_room of bpf/accel.bpf.c gives it to those of applications.
const sendRoom = 64 << 10

// Accelerator has the programs loaded. It takes nothing in until it is attached to cgroups and told doors.
type Accelerator struct {
	objects *objects
	slots   *slots
	limit   uint64

	expected sync.Map     // netip.AddrPort of backends that the kernel knows
	known    atomic.Int64 // how many they are, about
	refusals [reasons]atomic.Uint64
	taken    atomic.Uint64

	mu       sync.Mutex
	attached map[target]link.Link
	doors    map[netip.AddrPort]bool
	users    int // lanes, and calls that use objects
	closed   bool
}

// Reason says why a connection is not accelerated.
type Reason uint8

// Reasons.
const (
	// Accelerated: it is.
	Accelerated Reason = iota
	// PeerNotCaptured: the other end is no socket of a captured cgroup on this host, or was there before weir was.
	PeerNotCaptured
	// NoSlot: too many connections are accelerated already.
	NoSlot
	// Refused: the kernel did not take the socket, such as one whose peer has closed already.
	Refused
	// SwitchedOff: the Accelerator was closed.
	SwitchedOff
	reasons
)

// String is the reason's name in statistics.
func (r Reason) String() string {
	return [...]string{"accelerated", "peer_not_captured", "no_slot", "kernel_refused", "switched_off"}[r]
}

// Load hands the programs to the kernel. The error says what this host lacks.
func Load(o Options) (*Accelerator, error) {
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	objects, err := load(uint32(min(o.Limit, 1<<30)))
	if err != nil {
		return nil, err
	}
	slots, err := newSlots(objects.Slots)
	if err != nil {
		return nil, errors.Join(err, objects.close())
	}
	return &Accelerator{
		objects: objects, slots: slots, limit: o.Limit,
		attached: map[target]link.Link{}, doors: map[netip.AddrPort]bool{},
	}, nil
}

// Expect tells the kernel that the proxy connects to a backend on this host, so that its end can be taken in when it accepts.
// It is cheap when it was called for the address before.
func (a *Accelerator) Expect(backend netip.AddrPort) error {
	if _, known := a.expected.Load(backend); known {
		return nil
	}
	if err := a.objects.Backends.Put(endpoint(backend), uint32(1)); err != nil {
		return fmt.Errorf("expect connections of %s: %w", backend, err)
	}
	// The kernel forgets those of which it has not heard for longest when there are too many: then it is told of all again.
	if a.known.Add(1) > int64(a.objects.Backends.MaxEntries())/2 {
		a.expected.Clear()
		a.known.Store(1)
	}
	a.expected.Store(backend, true)
	return nil
}

// SetDoors replaces the addresses at which the proxy takes connections of applications; an unspecified address stands for
// every one of this host.
func (a *Accelerator) SetDoors(doors []netip.AddrPort) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	next := make(map[netip.AddrPort]bool, len(doors))
	for _, d := range doors {
		next[d] = true
		if a.doors[d] {
			continue
		}
		if err := a.objects.Doors.Put(endpoint(d), uint32(1)); err != nil {
			errs = append(errs, fmt.Errorf("add door %s: %w", d, err))
		}
	}
	for d := range a.doors {
		if next[d] {
			continue
		}
		if err := a.objects.Doors.Delete(endpoint(d)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("remove door %s: %w", d, err))
		}
	}
	a.doors = next
	return errors.Join(errs...)
}

// Lane is an accelerated connection as the proxy sees it.
type Lane struct {
	// Read is where the proxy publishes, after each read, how many bytes it has read since the connection began.
	Read *atomic.Uint64
	// Mixed changes when bytes were sent by TCP while redirected ones may not have been read: a read that came back short
	// may then have left some.
	Mixed *atomic.Uint64

	owner *Accelerator
	slot  *slot
	link  uint64
}

// Accelerate takes in a connected socket of the proxy, of which read bytes were read so far, or fewer than that. begin is called
// with the Lane right before bytes may be redirected. From then on the socket must be read by recv alone, not by splice, each
// read be published, and the Lane be released, also when the kernel does not take the socket after all. Unless begin was called
// nothing has changed.
func (a *Accelerator) Accelerate(fd int, local, remote netip.AddrPort, read uint64, begin func(*Lane)) Reason {
	reason := a.accelerate(fd, local, remote, read, begin)
	if reason == Accelerated {
		a.taken.Add(1)
	} else {
		a.refusals[reason].Add(1)
	}
	return reason
}

func (a *Accelerator) accelerate(fd int, local, remote netip.AddrPort, read uint64, begin func(*Lane)) Reason {
	netns, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return Refused
	}
	if !a.acquire() {
		return SwitchedOff
	}
	p := pair(remote, local, netns)
	var peer wirePeer
	var alive uint64
	if a.objects.Peers.Lookup(p, &peer) != nil || a.objects.Apps.Lookup(peer.Cookie, &alive) != nil {
		a.release()
		return PeerNotCaptured
	}
	slot, link := a.slots.take()
	if slot == nil {
		a.release()
		return NoSlot
	}
	slot.read.Store(read)
	slot.mixed.Store(0)
	slot.app.Store(peer.Cookie)
	begin(&Lane{Read: &slot.read, Mixed: &slot.mixed, owner: a, slot: slot, link: link})
	if err := a.enter(fd, p, slot, link, peer.Address != 0); err != nil {
		return Refused
	}
	return Accelerated
}

// enter puts a socket of the proxy into the maps; the link last, from which on bytes are redirected.
func (a *Accelerator) enter(fd int, p wirePair, slot *slot, link uint64, full bool) error {
	// What waits in the socket counts against its receive buffer (Linux 6.13), and TCP needs room beside it: a segment that
	// does not fit would be dropped, and sent again much later.
	slot.limit.Store(min(a.limit, makeRoom(fd, a.limit)))
	easeSending(fd, full)
	slot.link.Store(link)
	if err := a.objects.Sinks.Put(link, uint64(fd)); err != nil {
		return err
	}
	if full {
		if err := a.objects.Sources.Put(link, uint64(fd)); err != nil {
			return errors.Join(err, a.objects.Sinks.Delete(link))
		}
	}
	if err := a.objects.Links.Put(p, link); err != nil {
		_ = a.objects.Sources.Delete(link) // it is not there unless full
		return errors.Join(err, a.objects.Sinks.Delete(link))
	}
	return nil
}

// makeRoom makes the receive buffer hold limit bytes and half as many from TCP. It gives how many of the former fit: without
// CAP_NET_ADMIN the system's maximum stands.
func makeRoom(fd int, limit uint64) uint64 {
	half := int(min(limit/4*3, 1<<29)) // the kernel doubles it
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err == nil && room < 2*half {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, half) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, half) // what came of it is read next
		}
		room, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
	if err != nil {
		return 0
	}
	return uint64(room) / 3 * 2
}

// easeSending has TCP do little for what goes that way. There is no network between two sockets of a host, so the plainest
// congestion control will do; others pace what they send, and their measurements cost more than the sending. A socket whose bytes
// are redirected, too, comes back from TCP when nothing is on its way there: with little room in its send buffer that is soon. What
// cannot be set stays as it is, and is slower.
func easeSending(fd int, redirects bool) {
	_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
	if redirects {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendRoom)
	}
}

// Release gives the connection's place back. The descriptor must have been closed.
func (l *Lane) Release() {
	l.owner.slots.put(l.slot, l.link)
	l.owner.release()
}

// acquire keeps what was loaded until release; false when it was closed.
func (a *Accelerator) acquire() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.users++
	return true
}

// release undoes acquire. The last one unloads after Close; what comes of that is nobody's any more.
func (a *Accelerator) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.users--; a.users == 0 && a.closed {
		_ = a.unload()
	}
}

// Close detaches from all cgroups. Connections that were taken in stay so; what they need is unloaded with the last of them.
func (a *Accelerator) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	var errs []error
	for _, l := range a.attached {
		errs = append(errs, l.Close())
	}
	if a.users == 0 {
		errs = append(errs, a.unload())
	}
	return errors.Join(errs...)
}

func (a *Accelerator) unload() error { return errors.Join(a.objects.close(), a.slots.close()) }
