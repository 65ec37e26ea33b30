package source

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var errNowhere = errors.New("no route")

// kernel answers what it was given, and counts.
type kernel struct {
	mu    sync.Mutex
	src   netip.Addr
	asked int
}

func (k *kernel) ask(netip.AddrPort) (netip.Addr, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked++; !k.src.IsValid() {
		return netip.IPv6Unspecified(), errNowhere
	}
	return k.src, nil
}

func (k *kernel) answer(src string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.src, _ = netip.ParseAddr(src)
}

func TestCacheExpires(t *testing.T) {
	k := &kernel{}
	c, now, dst := newCache(k.ask), time.Now(), netip.MustParseAddrPort("10.99.0.1:80")
	for _, step := range []struct {
		name, route string
		after       time.Duration
		want        string
		asked       int
	}{
		{"first", "192.0.2.1", 0, "192.0.2.1", 1},
		{"again", "192.0.2.2", life - 1, "192.0.2.1", 1},
		{"out of date", "192.0.2.2", life, "192.0.2.2", 2},
		{"route is gone, not yet noticed", "", life + 1, "192.0.2.2", 2},
		{"route is gone", "", 2 * life, "invalid IP", 3},
		{"no route is remembered", "192.0.2.3", 2*life + 1, "invalid IP", 3},
		{"route is back", "192.0.2.3", 3 * life, "192.0.2.3", 4},
	} {
		k.answer(step.route)
		got, ok := c.Find(0, nil, dst, now.Add(step.after))
		if got.String() != step.want || ok != got.IsValid() || k.asked != step.asked {
			t.Errorf("%s: %s, %t, asked %d times, want %s, %d", step.name, got, ok, k.asked, step.want, step.asked)
		}
	}
}

func TestCacheNamespaces(t *testing.T) {
	k := &kernel{}
	c, now, dst := newCache(k.ask), time.Now(), netip.MustParseAddrPort("10.99.0.1:80")
	entered := 0
	in := func(f func() error) error { entered++; return f() }
	for i, src := range []string{"192.0.2.1", "192.0.2.2"} {
		k.answer(src)
		if got, ok := c.Find(uint64(i+1), in, dst, now); !ok || got.String() != src || entered != i+1 {
			t.Errorf("namespace %d: %s, %t, want %s, entered %d times", i+1, got, ok, src, entered)
		}
	}
	if got, ok := c.Find(3, func(func() error) error { return errNowhere }, dst, now); ok {
		t.Errorf("a namespace that is given up has %s", got)
	}
	for i, src := range []string{"192.0.2.1", "192.0.2.2"} {
		if got, ok := c.Find(uint64(i+1), in, dst, now); !ok || got.String() != src || entered != 2 {
			t.Errorf("namespace %d again: %s, %t, want %s, entered %d times", i+1, got, ok, src, entered)
		}
	}
	if k.asked != 2 {
		t.Errorf("asked %d times", k.asked)
	}
}

// TestCacheIsBounded asks for more destinations than are remembered: new ones take the place of old ones.
func TestCacheIsBounded(t *testing.T) {
	k := &kernel{}
	k.answer("192.0.2.1")
	c, now := newCache(k.ask), time.Now()
	dst := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 80)
	}
	const many = 20 * sets * ways
	for i := range many {
		at := now.Add(time.Duration(i))
		c.Find(0, nil, dst(i), at)
		asked := k.asked
		if c.Find(0, nil, dst(i), at); k.asked != asked {
			t.Fatalf("the answer for %s was not remembered", dst(i))
		}
	}
	remembered, used := 0, 0
	for i := range c.known {
		for j := range c.known[i] {
			if c.known[i][j].Load() != nil {
				used++
			}
		}
	}
	for i := range many {
		asked := k.asked
		if c.Find(0, nil, dst(i), now.Add(time.Duration(many+i))); k.asked == asked {
			remembered++
		}
	}
	if used < sets*ways*9/10 || remembered > 2*sets*ways {
		t.Errorf("%d places are used, %d of %d answers were remembered", used, remembered, many)
	}
}

func TestCacheConcurrently(t *testing.T) {
	var asked atomic.Int64
	c := newCache(func(dst netip.AddrPort) (netip.Addr, error) {
		asked.Add(1)
		return dst.Addr().Next(), nil
	})
	now := time.Now()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 20000 {
				netns, dst := uint64(i%3), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(g%2))
				if got, ok := c.Find(netns, nil, dst, now.Add(time.Duration(i)*life/5000)); !ok || got != dst.Addr().Next() {
					t.Errorf("%s: %s, %t", dst, got, ok)
					return
				}
			}
		})
	}
	all.Wait()
	if asked.Load() == 0 {
		t.Error("nobody asked")
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	k := &kernel{}
	k.answer("192.0.2.1")
	c, now, dst := newCache(k.ask), time.Now(), netip.MustParseAddrPort("[2001:db8::1]:80")
	if n := testing.AllocsPerRun(1000, func() { c.Find(7, nil, dst, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	k := &kernel{}
	k.answer("192.0.2.1")
	c, now, dst := newCache(k.ask), time.Now(), netip.MustParseAddrPort("10.99.0.1:80")
	for b.Loop() {
		c.Find(0, nil, dst, now)
	}
}

func BenchmarkOf(b *testing.B) {
	dst := netip.MustParseAddrPort("127.0.0.1:80")
	for b.Loop() {
		if _, err := Of(TCP, dst); err != nil {
			b.Fatal(err)
		}
	}
}
