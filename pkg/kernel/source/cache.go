package source

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

// How long an answer counts, and how many are remembered: sets of so many ways. Routes may change at any time.
const (
	life = time.Second
	sets = 256
	ways = 4
)

// Cache remembers source addresses, and where there are none, for a second each, 1024 of them at most. Make it with NewCache.
type Cache struct {
	ask   func(netip.AddrPort) (netip.Addr, error)
	start time.Time
	seed  uint64
	known [sets][ways]atomic.Pointer[answer]
}

// answer is what the kernel said. It is immutable.
type answer struct {
	netns uint64
	dst   netip.AddrPort
	src   netip.Addr // the zero value for none
	until time.Duration
}

// NewCache makes a cache of what Of answers for a protocol.
func NewCache(p Protocol) *Cache {
	return newCache(func(dst netip.AddrPort) (netip.Addr, error) { return Of(p, dst) })
}

func newCache(ask func(netip.AddrPort) (netip.Addr, error)) *Cache {
	return &Cache{ask: ask, start: time.Now(), seed: rand.Uint64()}
}

// Find gives the source address for dst in the network namespace with the cookie netns; false when there is none, or it cannot be told.
// inside calls a function in that namespace; nil stands for that of this process. now is the current time. An answer that is remembered
// costs no allocation.
func (c *Cache) Find(netns uint64, inside func(func() error) error, dst netip.AddrPort, now time.Time) (netip.Addr, bool) {
	set, at := &c.known[c.set(netns, dst)], now.Sub(c.start)
	for i := range set {
		if a := set[i].Load(); a != nil && a.dst == dst && a.netns == netns && at < a.until {
			return a.src, a.src.IsValid()
		}
	}
	return c.learn(set, answer{netns: netns, dst: dst, until: at + life}, inside)
}

// learn asks, and remembers the answer. Two who ask at the same time may remember it twice.
func (c *Cache) learn(set *[ways]atomic.Pointer[answer], a answer, inside func(func() error) error) (netip.Addr, bool) {
	ask := func() (err error) {
		a.src, err = c.ask(a.dst)
		return err
	}
	var err error
	if inside == nil {
		err = ask()
	} else {
		err = inside(ask)
	}
	if err != nil {
		a.src = netip.Addr{}
	}
	set[place(set, &a)].Store(&a)
	return a.src, a.src.IsValid()
}

// place is where an answer is remembered: instead of an earlier one to the same question, else of nothing, else of the oldest.
func place(set *[ways]atomic.Pointer[answer], a *answer) int {
	best, until := 0, time.Duration(1<<63-1)
	for i := range set {
		old := set[i].Load()
		switch {
		case old == nil:
			if until >= 0 {
				best, until = i, -1
			}
		case old.dst == a.dst && old.netns == a.netns:
			return i
		case old.until < until:
			best, until = i, old.until
		}
	}
	return best
}

// set is where answers to a question are.
func (c *Cache) set(netns uint64, dst netip.AddrPort) uint8 {
	ip := dst.Addr().As16()
	h := mix(c.seed^binary.NativeEndian.Uint64(ip[:8]), binary.NativeEndian.Uint64(ip[8:]))
	return uint8(mix(h^netns, uint64(dst.Port())))
}

// mix stirs two words into one.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xbf58476d1ce4e5b9)
	return high ^ low
}
