package conn

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/test/await"
)

func newPoller(t testing.TB) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// pair gives a connected Conn and its peer.
func pair(t testing.TB, network string) (*Conn, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := newPoller(t).Adopt(nc, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer
}

func reset(peer net.Conn) {
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
}

func TestBytesBothWays(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, peer := pair(t, network)
			payload := make([]byte, 3<<20) // more than the buffers hold: writes park
			rand.Read(payload)
			go func() {
				io.Copy(peer, peer)
				peer.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got := make(chan []byte, 1)
			go func() {
				b, _ := io.ReadAll(c)
				got <- b
			}()
			if n, err := c.Write(payload); n != len(payload) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b := <-got; !bytes.Equal(b, payload) {
				t.Errorf("got %d bytes back, which differ from the %d sent", len(b), len(payload))
			}
			if c.RxBytes() != uint64(len(payload)) || c.TxBytes() != uint64(len(payload)) {
				t.Errorf("counted rx %d tx %d, want %d", c.RxBytes(), c.TxBytes(), len(payload))
			}
		})
	}
}

func TestCountsIntoGivenCounters(t *testing.T) {
	c2, peer := pair(t, "tcp")
	var rx, tx atomic.Uint64
	c2.rx, c2.tx = &rx, &tx
	peer.Write([]byte("abc"))
	io.ReadFull(c2, make([]byte, 3))
	c2.Write([]byte("12345"))
	if rx.Load() != 3 || tx.Load() != 5 {
		t.Errorf("rx %d tx %d, want 3 and 5", rx.Load(), tx.Load())
	}
}

// lender notes what a read does with its buffer.
type lender struct {
	b           [8]byte
	lent, taken atomic.Int32
}

func (l *lender) Lend() []byte {
	l.lent.Add(1)
	return l.b[:]
}

func (l *lender) TakeBack() { l.taken.Add(1) }

func TestReadLent(t *testing.T) {
	c, peer := pair(t, "tcp")
	var l lender
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	read := func() {
		n, err := c.ReadLent(&l)
		done <- result{n, err}
	}
	go read()
	await.True(t, "a buffer given back by the read that waits", func() bool { return l.taken.Load() > 0 })
	peer.Write([]byte("hello"))
	if r := <-done; r.n != 5 || r.err != nil || string(l.b[:5]) != "hello" {
		t.Fatalf("read %d, %v", r.n, r.err)
	}
	if lent, taken := l.lent.Load(), l.taken.Load(); lent != taken+1 {
		t.Errorf("lent %d times, taken back %d times: the last one is the caller's", lent, taken)
	}
	c.Prepend([]byte("again"), nil)
	if n, err := c.ReadLent(&l); n != 5 || err != nil || string(l.b[:5]) != "again" {
		t.Errorf("read %d %q, %v of what was given back", n, l.b[:n], err)
	}
	peer.Close()
	if n, err := c.ReadLent(&l); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	go read()
	c.Abort()
	if r := <-done; r.err == nil {
		t.Error("an aborted read returned no error")
	}
}

func TestWaitReadableThenTryRead(t *testing.T) {
	c, peer := pair(t, "tcp")
	buf := make([]byte, 8)
	if _, err := c.TryRead(buf); !errors.Is(err, ErrWouldBlock) {
		t.Fatalf("TryRead on an empty socket: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- c.WaitReadable() }()
	peer.Write([]byte("hello"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n, err := c.TryRead(buf); n != 5 || err != nil {
		t.Errorf("TryRead = %d, %v", n, err)
	}
	peer.Close()
	if err := c.WaitReadable(); err != nil {
		t.Errorf("WaitReadable at the peer's end: %v", err)
	}
	if _, err := c.TryRead(buf); err != io.EOF {
		t.Errorf("TryRead at the peer's end: %v", err)
	}
}

func TestFINTogetherWithData(t *testing.T) {
	for range 50 {
		c, peer := pair(t, "tcp")
		peer.Write([]byte("x"))
		peer.Close()
		got, err := io.ReadAll(c)
		if string(got) != "x" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
		c.Close()
	}
}

func TestAbortUnblocks(t *testing.T) {
	c, _ := pair(t, "tcp")
	errs := make(chan error, 2)
	go func() {
		_, err := c.Read(make([]byte, 1))
		errs <- err
	}()
	go func() {
		_, err := c.Write(make([]byte, 64<<20))
		errs <- err
	}()
	await.True(t, "write under way", func() bool {
		if c.wmu.TryLock() {
			c.wmu.Unlock()
			return false
		}
		return true
	})
	c.Abort()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrAborted) {
			t.Errorf("got %v, want ErrAborted", err)
		}
	}
	c.SetDeadline(time.Time{})
	if err := c.WaitReadable(); !errors.Is(err, ErrAborted) {
		t.Errorf("after clearing the deadline: %v", err)
	}
}

func TestDeadline(t *testing.T) {
	c, peer := pair(t, "tcp")
	c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("got %v, want a timeout", err)
	}
	c.SetReadDeadline(time.Time{})
	peer.Write([]byte("x"))
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read after the deadline was cleared = %d, %v", n, err)
	}
}

func TestPeerClosed(t *testing.T) {
	cases := []struct {
		name string
		do   func(c *Conn, peer net.Conn)
		want bool
	}{
		{"open", func(*Conn, net.Conn) {}, false},
		{"bytes waiting", func(_ *Conn, p net.Conn) { p.Write([]byte("x")) }, false},
		{"fin", func(_ *Conn, p net.Conn) { p.Close() }, true},
		{"reset", func(_ *Conn, p net.Conn) { reset(p) }, true},
		{"bytes, then fin", func(_ *Conn, p net.Conn) { p.Write([]byte("x")); p.(*net.TCPConn).CloseWrite() }, false},
		{"bytes, then reset", func(_ *Conn, p net.Conn) { p.Write([]byte("x")); reset(p) }, true},
		{"closed here", func(c *Conn, _ net.Conn) { c.Close() }, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, peer := pair(t, "tcp")
			tc.do(c, peer)
			if tc.want {
				await.True(t, "PeerClosed", c.PeerClosed)
			} else if c.PeerClosed() {
				t.Error("PeerClosed = true")
			}
		})
	}
}

func TestResetIsSeenByThePeer(t *testing.T) {
	c, peer := pair(t, "tcp")
	c.Reset()
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer read: %v, want ECONNRESET", err)
	}
	reset(peer)
	c2, peer2 := pair(t, "tcp")
	reset(peer2)
	if _, err := c2.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want ECONNRESET", err)
	}
}

func TestResetSurvivesALook(t *testing.T) {
	for name, look := range map[string]func(*Conn) bool{
		"PeerClosed":   (*Conn).PeerClosed,
		"WaitReadable": func(c *Conn) bool { return c.WaitReadable() == nil && c.PeerClosed() },
	} {
		c, peer := pair(t, "tcp")
		reset(peer)
		await.True(t, name, func() bool { return look(c) })
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after %s: %v, want ECONNRESET", name, err)
		}
	}
}

func TestPrepend(t *testing.T) {
	c, peer := pair(t, "tcp")
	freed := 0
	c.Prepend([]byte("abc"), func() { freed++ })
	peer.Write([]byte("def"))
	if err := c.WaitReadable(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	io.ReadFull(c, buf)
	if freed != 0 || string(buf) != "ab" {
		t.Fatalf("read %q, freed %d", buf, freed)
	}
	rest := make([]byte, 4)
	io.ReadFull(c, rest)
	if freed != 1 || string(rest) != "cdef" || c.RxBytes() != 3 {
		t.Errorf("read %q, freed %d, counted %d", rest, freed, c.RxBytes())
	}
	c.Prepend([]byte("x"), func() { freed++ })
	c.Close()
	if freed != 2 {
		t.Error("Close did not free the prefix")
	}
}

// What was read of given back bytes can be given back again, before the rest of them.
func TestPrependTwice(t *testing.T) {
	c, peer := pair(t, "tcp")
	peer.Write([]byte("gh"))
	freed := ""
	c.Prepend([]byte("abcdef"), func() { freed += "1" })
	buf := make([]byte, 3)
	io.ReadFull(c, buf)
	c.Prepend(buf, func() { freed += "2" })
	c.Prepend(nil, func() { freed += "3" })
	all := make([]byte, 8)
	io.ReadFull(c, all)
	if string(all) != "abcdefgh" || freed != "123" {
		t.Errorf("read %q, freed %s", all, freed)
	}
}

func TestNoAllocations(t *testing.T) {
	c, peer := pair(t, "tcp")
	p, err := newPoller(t).Adopt(peer, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf, in := make([]byte, 512), make([]byte, 1024)
	if n := testing.AllocsPerRun(500, func() {
		c.Write(buf)
		p.WaitReadable()
		p.TryRead(in)
		p.Write(buf)
		io.ReadFull(c, in[:512])
		c.PeerClosed()
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

func TestNewRefusesOthers(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := newPoller(t).Adopt(a, nil, nil); err == nil {
		t.Error("net.Pipe was taken")
	}
}

func TestDialer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	mapped := netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
	d := Dialer{
		Poller: newPoller(t),
		Mark:   0x77, Bind: netip.MustParseAddrPort("127.0.0.9:0"), Keepalive: &model.TCPKeepalive{Time: 7 * time.Second},
		MarkFailed: func(err error) { t.Errorf("mark: %v", err) },
	}
	c, err := d.Dial(t.Context(), mapped)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Remote() != addr || c.Local().Addr() != d.Bind.Addr() {
		t.Errorf("connected %s -> %s, want %s -> %s", c.Local(), c.Remote(), d.Bind.Addr(), addr)
	}
	for _, o := range []struct {
		name             string
		level, opt, want int
	}{
		{"SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, 0x77},
		{"TCP_NODELAY", unix.SOL_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.SOL_TCP, unix.TCP_KEEPIDLE, 7},
	} {
		if got := sockopt(t, c, o.level, o.opt); got != o.want {
			t.Errorf("%s = %d, want %d", o.name, got, o.want)
		}
	}
	plain, err := (&Dialer{Poller: newPoller(t)}).Dial(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if got := sockopt(t, plain, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != 0 {
		t.Error("keep-alive is on without being asked for")
	}
}

func sockopt(t *testing.T, c *Conn, level, opt int) int {
	t.Helper()
	var v int
	c.Control(func(fd int) (err error) {
		v, err = unix.GetsockoptInt(fd, level, opt)
		return err
	})
	return v
}

func TestDialErrors(t *testing.T) {
	self := netip.MustParseAddrPort("127.0.0.1:15001")
	d := Dialer{Poller: newPoller(t), Self: func(a netip.AddrPort) bool { return a == self }}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(self.Addr().As16()), self.Port())
	for _, a := range []netip.AddrPort{self, mapped} {
		if _, err := d.Dial(t.Context(), a); !errors.Is(err, ErrSelf) {
			t.Errorf("dial %s: %v, want ErrSelf", a, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	if _, err := d.Dial(t.Context(), addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial a closed port: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, addr); !errors.Is(err, context.Canceled) && err == nil {
		t.Errorf("dial with a done context: %v", err)
	}
	if _, err := d.DialPipe(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("dial a missing socket: %v", err)
	}
}

func BenchmarkPingPong(b *testing.B) {
	c, peer := pair(b, "tcp")
	p, err := newPoller(b).Adopt(peer, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		buf := make([]byte, 1024)
		for {
			n, err := p.Read(buf)
			if err != nil {
				return
			}
			p.Write(buf[:n])
		}
	}()
	buf := make([]byte, 1024)
	for b.Loop() {
		c.Write(buf[:100])
		c.Read(buf)
	}
}

func TestDialErrorNamesTheDestinationAlone(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for bind, want := range map[string]string{
		"":            "dial tcp " + addr + ": connect: connection refused",
		"127.0.0.2:0": "dial tcp 127.0.0.2:0->" + addr + ": connect: connection refused",
	} {
		d := &Dialer{}
		if bind != "" {
			d.Bind = netip.MustParseAddrPort(bind)
		}
		if _, err := d.Dial(t.Context(), netip.MustParseAddrPort(addr)); err == nil || err.Error() != want {
			t.Errorf("bound to %q: error %v, want %s", bind, err, want)
		}
	}
}
