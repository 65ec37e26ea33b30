package accel

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// slot is struct accel_slot.
type slot struct {
	link  atomic.Uint64
	read  atomic.Uint64
	mixed atomic.Uint64
	limit atomic.Uint64
	app   atomic.Uint64
	_     [3]uint64
}

// slots is the array of struct accel_slot, mapped, and which of them are free.
type slots struct {
	memory []byte
	all    []slot

	mu   sync.Mutex
	free []uint32
	next uint32 // those from here on were never used
}

func newSlots(m *ebpf.Map) (*slots, error) {
	n := int(m.MaxEntries())
	memory, err := unix.Mmap(m.FD(), 0, n*int(unsafe.Sizeof(slot{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s into memory: %w", m, err)
	}
	return &slots{memory: memory, all: unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(memory))), n)}, nil
}

// take gives a free slot with its new link, which is not in the slot yet; nil when all are taken.
func (s *slots) take() (*slot, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var i uint32
	switch n := len(s.free); {
	case n > 0:
		i = s.free[n-1]
		s.free = s.free[:n-1]
	case int(s.next) < len(s.all):
		i = s.next
		s.next++
	default:
		return nil, 0
	}
	slot := &s.all[i]
	// The generation is kept in the word that follows the link's once the slot is free.
	generation := (slot.limit.Load()>>32 + 1) & (1<<32 - 1)
	return slot, max(generation, 1)<<32 | uint64(i)
}

// put takes a slot back. The socket that it was for must be closed.
func (s *slots) put(v *slot, link uint64) {
	v.link.Store(0)
	v.limit.Store(link &^ (1<<32 - 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, uint32(link))
}

// close unmaps the memory, which nobody may use any more.
func (s *slots) close() error { return unix.Munmap(s.memory) }
