package intercept

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/kernel/sockdiag"
)

// LiveSocket is the socket of an application, captured or offloaded, as it is now.
type LiveSocket struct {
	// Local is the application's address, Dst where it wanted to go, Peer where it was sent: a capture socket or an endpoint.
	// IPv4 is unmapped.
	Local, Dst, Peer netip.AddrPort
	// Offloaded tells that the kernel has sent it to an endpoint of Service. Otherwise Listener has it, as in Flow.
	Offloaded         bool
	Service, Listener string
	// Earlier tells that a daemon before this one has offloaded it, whose service is not known here.
	Earlier bool
	// State of the TCP connection.
	State sockdiag.State
	// Cookie is the socket's SO_COOKIE.
	Cookie uint64
	// Cgroup is the id of the cgroup that the socket was created in, Inode its number in /proc/PID/fd. PID is the process that
	// called connect(), 0 where the kernel did not note it (offloaded connections).
	Cgroup          uint64
	Inode, PID, UID uint32
	// RTT is the smoothed round-trip time; Sent counts the acknowledged bytes of the application, without SYN and FIN, and Received
	// those that came.
	RTT            time.Duration
	Sent, Received uint64
	// Age is the time since connect(), to the millisecond; 0 when it is not known, as that of captured sockets, whose connections
	// weir knows. It is off by 49 days, or multiples, after as long.
	Age time.Duration

	service uint32 // block of the service, 0 when it is an earlier daemon's
}

// liveStates are those of connections that somebody may look at.
var liveStates = [...]sockdiag.State{
	sockdiag.SynSent, sockdiag.Established, sockdiag.FinWait1, sockdiag.FinWait2, sockdiag.CloseWait, sockdiag.LastAck, sockdiag.Closing,
}

// LiveSockets lists the captured and offloaded TCP sockets in the network namespace of the calling thread, in no order. It asks the
// kernel for all sockets of the namespace, twice, and takes time in proportion to their number. Storage of sockets can be asked
// for from Linux 5.7 on.
func (i *Interceptor) LiveSockets() ([]LiveSocket, error) {
	found, err := i.dump()
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for n, l := range found {
		if s := i.services.byBlock[l.service]; s != nil && l.Offloaded {
			found[n].Service = s.name
		}
	}
	return found, nil
}

func (i *Interceptor) dump() (found []LiveSocket, err error) {
	i.life.RLock()
	defer i.life.RUnlock()
	if i.ended {
		return nil, errClosed
	}
	c, err := sockdiag.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, m := range []struct {
		storage *ebpf.Map
		fill    func(*LiveSocket, *sockdiag.Socket) bool
	}{{i.objects.Flows, i.fillCaptured}, {i.objects.Offloads, i.fillOffloaded}} {
		q := sockdiag.Query{States: liveStates[:], Info: true, Storage: m.storage.FD()}
		if err := c.Dump(q, func(s *sockdiag.Socket) {
			if l := liveOf(s); m.fill(&l, s) {
				found = append(found, l)
			}
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func liveOf(s *sockdiag.Socket) LiveSocket {
	return LiveSocket{
		Local: unmap(s.Local), Peer: unmap(s.Remote), State: s.State, Cookie: s.Cookie, Cgroup: s.Cgroup, Inode: s.Inode, UID: s.UID,
		RTT: s.RTT, Sent: s.Sent - min(flags(s.State), s.Sent), Received: s.Received,
	}
}

// flags are how much more than its bytes the kernel counts as acknowledged: one each for SYN and FIN.
func flags(s sockdiag.State) uint64 {
	switch s {
	case sockdiag.SynSent:
		return 0
	case sockdiag.FinWait2:
		return 2
	}
	return 1
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (i *Interceptor) fillCaptured(l *LiveSocket, s *sockdiag.Socket) bool {
	var flow wireFlow
	if _, err := binary.Decode(s.Stored, binary.NativeEndian, &flow); err != nil {
		return false
	}
	l.Dst, l.PID = addrPort(flow.Addr, flow.Port), flow.PID
	if flow.Epoch == i.numbers.epoch {
		l.Listener = i.rules.names.name(flow.Listener)
	}
	return true
}

func (i *Interceptor) fillOffloaded(l *LiveSocket, s *sockdiag.Socket) bool {
	var o wireOffload
	if !i.offloadOf(s, &o) {
		return false
	}
	l.Offloaded, l.Dst = true, addrPort(o.Addr, o.Port)
	if l.Earlier = o.Epoch != i.numbers.epoch; !l.Earlier {
		l.service = o.Service
	}
	if o.Began != 0 {
		l.Age = age(o.Began)
	}
	return true
}

// offloadOf finds the offloaded connection of a socket, in its place or in its own storage.
func (i *Interceptor) offloadOf(s *sockdiag.Socket, o *wireOffload) bool {
	if i.objects.Places.Lookup(uint32(s.Cookie)&(i.objects.Places.MaxEntries()-1), o) == nil && o.Owner == s.Cookie {
		return true
	}
	_, err := binary.Decode(s.Stored, binary.NativeEndian, o)
	return err == nil && o.Owner == s.Cookie
}

// InPlace tells whether the socket with this cookie has an offloaded connection that is kept in a place. One that is over has none; of
// one that is kept in the socket's own storage it says no.
func (i *Interceptor) InPlace(cookie uint64) bool {
	i.life.RLock()
	defer i.life.RUnlock()
	var o wireOffload
	return !i.ended && cookie != 0 && i.objects.Places.Lookup(uint32(cookie)&(i.objects.Places.MaxEntries()-1), &o) == nil && o.Owner == cookie
}

// beganShift is BEGAN_SHIFT.
const beganShift = 20

// age is the time since the kernel's clock, in units of 2^beganShift ns, was this, modulo 2^32.
func age(began uint32) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return time.Duration(uint32(now.Nano()>>beganShift)-began) << beganShift
}
