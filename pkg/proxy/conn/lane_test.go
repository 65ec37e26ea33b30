package conn

import (
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeAccelerator has lanes without a kernel's side.
type fakeAccelerator struct {
	refuse bool

	mu       sync.Mutex
	expected []netip.AddrPort
	taken    []uint64 // bytes read when asked
	read     atomic.Uint64
	mixed    atomic.Uint64
	released int
}

func (f *fakeAccelerator) Expect(addr netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected = append(f.expected, addr)
}

func (f *fakeAccelerator) Accelerate(_ int, _, _ netip.AddrPort, read uint64, begin func(Lane)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = append(f.taken, read)
	if !f.refuse {
		f.read.Store(read)
		begin(Lane{&f.read, &f.mixed, func() { f.released++ }})
	}
}

// accelerated gives a connection of a poller that accelerates after so many reads and writes.
func accelerated(t *testing.T, f *fakeAccelerator, after int) (*Conn, io.ReadWriteCloser) {
	t.Helper()
	c, peer := pair(t, "tcp4")
	c.poller.Accelerate(f, after)
	c.trial.Store(c.trials())
	return c, peer
}

func TestLane(t *testing.T) {
	var f fakeAccelerator
	c, peer := accelerated(t, &f, 2)
	buf := make([]byte, 10)
	for i, text := range []string{"one", "three", "six", "seven"} {
		if _, err := peer.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); string(buf[:n]) != text || err != nil {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		if c.Spliceable() != (i < 1) {
			t.Errorf("after %d reads: Spliceable is %t", i+1, c.Spliceable())
		}
	}
	if !slices.Equal(f.taken, []uint64{8}) || f.read.Load() != 16 {
		t.Errorf("accelerated when %d bytes had been read, told of %d", f.taken, f.read.Load())
	}
	c.Close()
	if f.released != 1 {
		t.Errorf("released %d times", f.released)
	}
}

func TestLaneByWrites(t *testing.T) {
	var f fakeAccelerator
	c, _ := accelerated(t, &f, 2)
	for range 3 {
		if _, err := c.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(f.taken, []uint64{0}) || c.Spliceable() {
		t.Errorf("accelerated when %d bytes had been read; Spliceable: %t", f.taken, c.Spliceable())
	}
}

// TestLaneMixed has bytes come by TCP behind such that a read returned alone: the next read must not wait for news.
func TestLaneMixed(t *testing.T) {
	var f fakeAccelerator
	c, peer := accelerated(t, &f, 1)
	buf := make([]byte, 10)
	read := func() {
		if _, err := peer.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if !c.drained {
		t.Error("a short read did not drain the socket")
	}
	f.mixed.Add(1)
	read()
	if c.drained {
		t.Error("a short read of mixed bytes drained the socket")
	}
	if _, err := c.TryRead(buf); err != ErrWouldBlock {
		t.Fatal(err)
	}
	if read(); !c.drained {
		t.Error("a short read did not drain the socket after all was read")
	}
}

func TestLaneEndsSplice(t *testing.T) {
	var f fakeAccelerator
	src, peer := accelerated(t, &f, 1)
	dst, sink := pair(t, "tcp4")
	if _, err := peer.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	n, _, readErr, writeErr := dst.Splice(src, SpliceSize)
	if n != 4 || readErr != nil || writeErr != nil {
		t.Fatalf("%d, %v, %v", n, readErr, writeErr)
	}
	if _, err := io.ReadFull(sink, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	if n, _, readErr, writeErr := dst.Splice(src, SpliceSize); n != 0 || readErr != nil || writeErr != nil {
		t.Errorf("spliced %d, %v, %v", n, readErr, writeErr)
	}
	if n, err := src.Read(make([]byte, 10)); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func TestNoLane(t *testing.T) {
	for _, test := range []struct {
		name    string
		network string
		set     func(c *Conn, f *fakeAccelerator)
		asked   int
	}{
		{"refused", "tcp4", func(c *Conn, f *fakeAccelerator) { f.refuse = true; c.poller.Accelerate(f, 1) }, 1},
		{"switched off", "tcp4", func(c *Conn, f *fakeAccelerator) { c.poller.Accelerate(f, 1); c.poller.Accelerate(nil, 0) }, 0},
		{"a unix socket", "unix", func(c *Conn, f *fakeAccelerator) { c.poller.Accelerate(f, 1) }, 0},
		{"another host", "tcp4", func(c *Conn, f *fakeAccelerator) {
			c.remote = netip.MustParseAddrPort("192.0.2.1:1")
			c.poller.Accelerate(f, 1)
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var f fakeAccelerator
			c, _ := pair(t, test.network)
			test.set(c, &f)
			c.trial.Store(c.trials())
			for range 3 {
				if _, err := c.Write([]byte("text")); err != nil {
					t.Fatal(err)
				}
			}
			if len(f.taken) != test.asked || !c.Spliceable() {
				t.Errorf("asked %d times, Spliceable is %t", len(f.taken), c.Spliceable())
			}
			c.Close()
			if f.released != 0 {
				t.Error("released what was not taken")
			}
		})
	}
}

func TestDialIsExpected(t *testing.T) {
	var f fakeAccelerator
	p := newPoller(t)
	p.Accelerate(&f, 1)
	d := Dialer{Poller: p}
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	if c, err := d.Dial(t.Context(), addr); err == nil {
		c.Close()
	}
	if !slices.Equal(f.expected, []netip.AddrPort{addr}) {
		t.Errorf("expected %v", f.expected)
	}
}
