package inbound

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// Await waits until a socket has begun to listen about which only Look can find out all. The error says that there will be no
// more: Close was called.
func (i *Inbound) Await() error {
	if _, err := i.news.Read(); err != nil {
		return fmt.Errorf("wait for listening sockets: %w", err)
	}
	return nil
}

// Look compares what is counted with what listens in each namespace, and mends what differs: it should be called from time to
// time, and when Await returns. It also frees what an update has left.
func (i *Inbound) Look() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("look for listening sockets: %w", errClosed)
	}
	i.forgetStale()
	var failed []error
	for _, n := range i.namespaces {
		failed = append(failed, i.lookIn(n))
	}
	return errors.Join(append(failed, i.tidy())...)
}

// lookIn brings the count of one namespace up to date. What is counted is read before the namespace is asked, so that what is
// counted and not found has ended, or was missed by the kernel's walk through its tables: it is taken back when it is missing
// twice.
func (i *Inbound) lookIn(n *namespace) error {
	counted, err := i.counted()
	if err != nil {
		return err
	}
	found, err := listeningIn(n.diag)
	if err != nil {
		return err
	}
	wanted, known := i.wanted(n.cookie, found)
	for half, socket := range wanted {
		was, present := counted[half]
		if present && was == socket {
			continue
		}
		if present {
			if err := i.objects.edit(operationRemove, half, wireSocket{}); err != nil {
				return err
			}
		}
		// It may have been counted, or may have ended, meanwhile; when there is no room, the next look tries again.
		if err := i.objects.edit(operationEnter, half, socket); err != nil && !errors.Is(err, errNotEntered) {
			return err
		}
	}
	missed := make(map[wireHalf]bool)
	for half, socket := range counted {
		if _, ok := wanted[half]; ok || socket.Place.Netns != n.cookie {
			continue
		}
		if !known[half.Cookie] && !n.missed[half] {
			missed[half] = true
			continue
		}
		if err := i.objects.edit(operationRemove, half, wireSocket{}); err != nil {
			return err
		}
	}
	n.missed = missed
	return nil
}

// counted is what is counted of all namespaces.
func (i *Inbound) counted() (map[wireHalf]wireSocket, error) {
	out := make(map[wireHalf]wireSocket)
	var half wireHalf
	var socket wireSocket
	entries := i.objects.Sockets.Iterate()
	for entries.Next(&half, &socket) {
		out[half] = socket
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read counted sockets: %w", err)
	}
	return out, nil
}

// wanted is what should be counted of a namespace's listening sockets: those of captured processes, and others on their ports.
// known are the cookies of all that listens.
func (i *Inbound) wanted(cookie uint64, found []listening) (out map[wireHalf]wireSocket, known map[uint64]bool) {
	out, known = make(map[wireHalf]wireSocket), make(map[uint64]bool)
	own := i.ownSockets()
	ports := make(map[uint16]bool)
	for n := range found {
		l := &found[n]
		known[l.cookie] = true
		if own[l.inode] || l.device != 0 || !i.members.has(i, l.cgroup) {
			l.cgroup = 0
		} else {
			ports[l.addr.Port()] = true
		}
	}
	for _, l := range found {
		if !ports[l.addr.Port()] {
			continue
		}
		socket := wireSocket{Place: placeOf(cookie, l.addr)}
		if l.cgroup == 0 {
			socket.Foreign = 1
		}
		out[wireHalf{Cookie: l.cookie}] = socket
		if l.addr.Addr() == netip.IPv6Unspecified() && !l.v6only {
			socket.Place = placeOf(cookie, netip.AddrPortFrom(netip.IPv4Unspecified(), l.addr.Port()))
			out[wireHalf{Cookie: l.cookie, Half: 1}] = socket
		}
	}
	return out, known
}

// tidy removes places where nobody has listened since the last time, and counts anew those whose number was wrong twice, which
// takes two sockets with one cookie, or an entry that was removed while a socket came.
func (i *Inbound) tidy() error {
	counted, err := i.counted()
	if err != nil {
		return err
	}
	wrong, err := i.wrongPlaces(counted)
	if err != nil {
		return err
	}
	again := make(map[wirePlace]bool)
	for place := range wrong {
		if !i.idle[place] {
			again[place] = true
			continue
		}
		_ = i.objects.Listens.Delete(&place) // it may be the entry that is missing
	}
	for half, socket := range counted {
		if !wrong[socket.Place] || again[socket.Place] {
			continue
		}
		if err := i.objects.edit(operationRemove, half, wireSocket{}); err != nil {
			return err
		}
		if err := i.objects.edit(operationEnter, half, socket); err != nil && !errors.Is(err, errNotEntered) {
			return err
		}
	}
	i.idle = again
	return nil
}

// wrongPlaces finds those whose number is not that of the sockets which were counted there, or where nobody listens.
func (i *Inbound) wrongPlaces(counted map[wireHalf]wireSocket) (wrong map[wirePlace]bool, err error) {
	expected := make(map[wirePlace]wireCount)
	for _, socket := range counted {
		c := expected[socket.Place]
		c.Foreign += socket.Foreign
		c.Captured += 1 - socket.Foreign
		expected[socket.Place] = c
	}
	wrong = make(map[wirePlace]bool)
	var place wirePlace
	var count wireCount
	entries := i.objects.Listens.Iterate()
	for entries.Next(&place, &count) {
		want := expected[place]
		delete(expected, place)
		if want != count || count == (wireCount{}) {
			wrong[place] = true
		}
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("read places: %w", err)
	}
	for place := range expected {
		wrong[place] = true // it was removed while a socket came
	}
	return wrong, nil
}

// members remembers which cgroups are captured. Ids are not used again.
type members struct {
	ids map[uint64]bool
}

// has tells whether a cgroup is, or is below, one that is captured. The captured ones are walked when an unknown id comes up.
func (m *members) has(i *Inbound, id uint64) bool {
	if captured, known := m.ids[id]; known || id == 0 {
		return captured
	}
	if m.ids == nil {
		m.ids = make(map[uint64]bool)
	}
	for _, dir := range i.cgroups.Dirs() {
		// What vanishes meanwhile has no sockets that matter.
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				if id, err := cgroup.ID(path); err == nil {
					m.ids[id] = true
				}
			}
			return nil
		})
	}
	if !m.ids[id] {
		m.ids[id] = false
	}
	return m.ids[id]
}

// ownSockets are the inodes of this process's sockets when it may have some among the captured: it is in a captured cgroup.
func (i *Inbound) ownSockets() map[uint32]bool {
	dir, err := i.hierarchy.Of(0)
	if err != nil {
		return nil
	}
	id, err := cgroup.ID(dir)
	if err != nil || !i.members.has(i, id) {
		return nil
	}
	own := make(map[uint32]bool)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, fd := range fds {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		var stat syscall.Stat_t
		if err := syscall.Stat("/proc/self/fd/"+fd.Name(), &stat); err == nil {
			own[uint32(stat.Ino)] = true
		}
	}
	return own
}
