package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/test/await"
)

func (w *waiter) isParked() bool { return w.waiting.Load() == parked }

// TestNewsBetweenReads checks that nothing is missed by reads that park without a try: what comes between two reads, what
// comes while one is parked, and a FIN that comes with, after or long after the last bytes.
func TestNewsBetweenReads(t *testing.T) {
	buf := make([]byte, 64)
	read := func(t *testing.T, c *Conn, want string, wantErr error) {
		t.Helper()
		_ = c.SetReadDeadline(time.Now().Add(await.Patience))
		if n, err := c.Read(buf); string(buf[:n]) != want || !errors.Is(err, wantErr) {
			t.Fatalf("read %q, %v; want %q, %v", buf[:n], err, want, wantErr)
		}
	}
	t.Run("between", func(t *testing.T) {
		c, peer := pair(t, "tcp")
		for range 100 {
			io.WriteString(peer, "one")
			read(t, c, "one", nil)
		}
		await.True(t, "the connection is quiet", c.quiet)
		io.WriteString(peer, "two")
		await.True(t, "the poller has told of it", func() bool { return !c.quiet() })
		read(t, c, "two", nil)
	})
	t.Run("end after", func(t *testing.T) {
		c, peer := pair(t, "tcp")
		io.WriteString(peer, "one")
		read(t, c, "one", nil)
		peer.Close()
		read(t, c, "", io.EOF)
		read(t, c, "", io.EOF)
		if !c.HungUp() {
			t.Error("the end is not known")
		}
	})
	t.Run("end with", func(t *testing.T) {
		c, peer := pair(t, "tcp")
		read2 := make(chan struct{})
		go func() { // parked when both come
			defer close(read2)
			read(t, c, "one", nil)
			read(t, c, "", io.EOF)
		}()
		await.True(t, "the read is parked", c.in.isParked)
		io.WriteString(peer, "one")
		peer.(*net.TCPConn).CloseWrite()
		<-read2
	})
}

func TestUrgentDataStopsNoRead(t *testing.T) {
	c, peer := pair(t, "tcp")
	raw, err := peer.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	send := func(data string, flags int) {
		if err := raw.Control(func(fd uintptr) { err = unix.Send(int(fd), []byte(data), flags) }); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		send("before", 0)
		send("!", unix.MSG_OOB)
		send("behind", 0)
	}
	peer.Close()
	_ = c.SetReadDeadline(time.Now().Add(await.Patience))
	got, err := io.ReadAll(c)
	if err != nil || !bytes.HasSuffix(got, []byte("behind")) || bytes.Count(got, []byte("before")) != 20 {
		t.Errorf("read %q, %v", got, err)
	}
}

// TestManyConversations lets many connections of one poller talk in pieces of random size, and end.
func TestManyConversations(t *testing.T) {
	p := newPoller(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var all sync.WaitGroup
	defer all.Wait()
	for range 32 {
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Adopt(nc, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		other, err := p.Adopt(peer, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { // echoes
			defer c.Close()
			_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 700))
		})
		all.Go(func() {
			defer other.Close()
			converse(t, other)
		})
	}
}

func converse(t *testing.T, c *Conn) {
	out, in := make([]byte, 2000), make([]byte, 2000)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for i := range 200 {
		n := 1 + rand.IntN(len(out))
		for j := range n {
			out[j] = byte(i + j)
		}
		if _, err := c.Write(out[:n]); err != nil {
			t.Errorf("write: %v", err)
			return
		}
		if _, err := io.ReadFull(c, in[:n]); err != nil || !bytes.Equal(in[:n], out[:n]) {
			t.Errorf("round %d: the echo of %d bytes differs, %v", i, n, err)
			return
		}
	}
}

func TestDeadlineWhileParked(t *testing.T) {
	c, peer := pair(t, "tcp")
	defer peer.Close()
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	await.True(t, "the read is parked", c.in.isParked)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read after the deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	io.WriteString(peer, "x")
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read without a deadline: %d, %v", n, err)
	}
}

func TestCloseWakesUp(t *testing.T) {
	c, _ := pair(t, "tcp")
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	await.True(t, "the read is parked", c.in.isParked)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if err := c.SetDeadline(time.Now()); err == nil {
		t.Error("a deadline of a closed connection was accepted")
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
}

func TestClosedPollerEndsItsConnections(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Adopt(nc, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	await.True(t, "the read is parked", c.in.isParked)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrAborted) {
		t.Errorf("read: %v", err)
	}
	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := p.Adopt(other, nil, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("adopt after close: %v", err)
	}
}

func TestWhenReadable(t *testing.T) {
	for name, wake := range map[string]func(c *Conn, peer net.Conn){
		"bytes":    func(_ *Conn, peer net.Conn) { io.WriteString(peer, "x") },
		"end":      func(_ *Conn, peer net.Conn) { peer.Close() },
		"deadline": func(c *Conn, _ net.Conn) { c.SetReadDeadline(time.Now().Add(time.Millisecond)) },
		"abort":    func(c *Conn, _ net.Conn) { c.Abort() },
		"close":    func(c *Conn, _ net.Conn) { c.Close() },
	} {
		for _, before := range []bool{false, true} {
			c, peer := pair(t, "tcp")
			if _, err := c.TryRead(make([]byte, 1)); err != ErrWouldBlock {
				t.Fatal(err)
			}
			resumed := make(chan struct{})
			if before {
				wake(c, peer)
			}
			c.WhenReadable(func() { close(resumed) })
			if !before {
				wake(c, peer)
			}
			select {
			case <-resumed:
			case <-time.After(await.Patience):
				t.Errorf("%s (before: %v): not resumed", name, before)
			}
			c, peer = pair(t, "tcp")
			if _, err := c.TryRead(make([]byte, 1)); err != ErrWouldBlock {
				t.Fatal(err)
			}
			rested := make(chan struct{})
			if before {
				wake(c, peer)
			}
			if !c.Rest(func() { close(rested) }) {
				close(rested) // a second call would panic
			}
			if !before {
				wake(c, peer)
			}
			select {
			case <-rested:
			case <-time.After(await.Patience):
				t.Errorf("%s (before: %v): rests for ever", name, before)
			}
		}
	}
	c, _ := pair(t, "tcp")
	c.Prepend([]byte("x"), nil)
	resumed := make(chan struct{})
	c.WhenReadable(func() { close(resumed) })
	<-resumed
}

// TestPollerSharesOut has those who are resumed first wait for the last one, so that they need goroutines of their own.
func TestPollerSharesOut(t *testing.T) {
	last := make(chan struct{})
	var all sync.WaitGroup
	var due []func()
	for range 3 {
		all.Add(1)
		due = append(due, func() { <-last; all.Done() })
	}
	due = append(due, func() {}, func() { close(last) })
	resume(due)
	all.Wait()
}

func TestRestNeedsNoPriorRead(t *testing.T) {
	c, _ := pair(t, "tcp")
	if c.Rest(func() { t.Error("resumed") }) {
		t.Error("rests without knowing whether there is something to read")
	}
	c.Prepend([]byte("x"), nil)
	if c.Rest(func() { t.Error("resumed") }) {
		t.Error("rests beside bytes that were given back")
	}
}

func TestTryWrite(t *testing.T) {
	c, peer := pair(t, "tcp")
	data, sent := make([]byte, 1<<20), 0
	for i := range data {
		data[i] = byte(i)
	}
	for full := false; !full; {
		n, err := c.TryWrite(data)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
		full = n < len(data)
		data = append(data[n:], data[:n]...)
	}
	if uint64(sent) != c.TxBytes() {
		t.Errorf("%d bytes were counted, %d sent", c.TxBytes(), sent)
	}
	read := make(chan error)
	go func() { // makes room for what waits
		got := make([]byte, sent+len("rest"))
		_, err := io.ReadFull(peer, got)
		if err == nil && !bytes.HasSuffix(got, []byte("rest")) {
			err = errors.New("other bytes came")
		}
		read <- err
	}()
	if _, err := c.Write([]byte("rest")); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	c.Abort()
	if _, err := c.TryWrite([]byte("x")); !errors.Is(err, ErrAborted) {
		t.Errorf("after an abort: %v", err)
	}
}

func TestWaits(t *testing.T) {
	Waits(t.Context()) // tells nobody
	told := 0
	ctx, cancel := context.WithCancel(NoteWaits(t.Context(), func() { told++ }))
	defer cancel()
	Waits(ctx)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// TestWhenReadableAtTheEnd has the poller tell of the end before the bytes in front of it are read.
func TestWhenReadableAtTheEnd(t *testing.T) {
	c, peer := pair(t, "tcp")
	if _, err := io.WriteString(peer, "x"); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	await.True(t, "the end is told", c.HungUp)
	if n, err := c.TryRead(make([]byte, 8)); n != 1 || err != nil {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	resumed := make(chan struct{})
	c.WhenReadable(func() { close(resumed) })
	select {
	case <-resumed:
	case <-time.After(await.Patience):
		t.Error("not resumed")
	}
	if !c.PeerClosed() {
		t.Error("the end is not seen")
	}
}

// quiet tells that all bytes that came were read and that the poller has told of nothing since.
func (c *Conn) quiet() bool { return c.drained && c.in.quiet() }
