package accel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// trialLimit is little, so that it is reached.
	trialLimit = 128 << 10
	// trialBulk is many times that.
	trialBulk = 2 << 20
)

// trialCase is one way of using a connection. With receive it is for applications alone that are not redirected into.
type trialCase struct {
	name    string
	receive bool
	run     func(t *trial, p *pairOfEnds) error
}

func cases() []trialCase {
	return []trialCase{
		{"bulk both ways", false, (*trial).bulk},
		{"random cuts", false, (*trial).cuts},
		{"slow reader", false, (*trial).slow},
		{"half-close", false, (*trial).halfClose},
		{"reset", false, (*trial).reset},
		{"reader that splices", true, (*trial).splices},
	}
}

// flow is one direction of a pair.
type flow struct {
	p        *pairOfEnds
	from, to *net.TCPConn
	key      uint64
}

// flows gives the direction towards the proxy, and that towards the application.
func (p *pairOfEnds) flows() (up, down flow) {
	return flow{p, p.app, p.proxy, 1}, flow{p, p.proxy, p.app, 2}
}

// fill writes what a flow has from offset at on: every eight bytes say where they belong.
func (f flow) fill(b []byte, at int) {
	var word [8]byte
	for i := 0; i < len(b); {
		binary.LittleEndian.PutUint64(word[:], f.key^uint64((at+i)/8)*0x9e3779b97f4a7c15)
		i += copy(b[i:], word[(at+i)%8:])
	}
}

// send sends total bytes in pieces of at most size, and counts them.
func (f flow) send(total int, size func() int, sent *atomic.Int64) error {
	for at := 0; at < total; {
		b := make([]byte, min(size(), total-at))
		f.fill(b, at)
		n, err := f.from.Write(b)
		if sent != nil {
			sent.Add(int64(n))
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		at += n
	}
	return nil
}

// receive reads total bytes in pieces of at most size, and checks them.
func (f flow) receive(total int, size func() int) error {
	for at := 0; at < total; {
		b := make([]byte, min(size(), total-at))
		n, err := f.to.Read(b)
		if err != nil {
			return fmt.Errorf("receive at %d of %d bytes: %w", at, total, err)
		}
		if f.to == f.p.proxy {
			f.p.read += uint64(n)
			f.p.lane.Read.Store(f.p.read)
		}
		want := make([]byte, n)
		if f.fill(want, at); string(want) != string(b[:n]) {
			return fmt.Errorf("received other bytes than were sent, at %d of %d", at, total)
		}
		at += n
	}
	return nil
}

// end expects the end of the stream.
func (f flow) end() error {
	switch n, err := f.to.Read(make([]byte, 1)); {
	case n > 0:
		return errors.New("received a byte in place of the end")
	case err != io.EOF:
		return fmt.Errorf("read the end: %w", err)
	}
	return nil
}

// both runs all at once.
func both(all ...func() error) error {
	var running sync.WaitGroup
	errs := make([]error, len(all))
	for i, f := range all {
		running.Go(func() { errs[i] = f() })
	}
	running.Wait()
	return errors.Join(errs...)
}

func always(n int) func() int { return func() int { return n } }

func (t *trial) bulk(p *pairOfEnds) error {
	up, down := p.flows()
	size := always(64 << 10)
	return both(
		func() error { return up.send(trialBulk, size, nil) }, func() error { return up.receive(trialBulk, size) },
		func() error { return down.send(trialBulk, size, nil) }, func() error { return down.receive(trialBulk, size) },
	)
}

// sizes gives random ones, of small and large pieces alike.
func (t *trial) sizes() func() int {
	seed := t.rnd.Uint64()
	return func() int {
		seed = seed*6364136223846793005 + 1442695040888963407
		return 1 + int(seed>>33)&(1<<(6+seed>>60)-1)
	}
}

func (t *trial) cuts(p *pairOfEnds) error {
	const total = 256 << 10
	up, down := p.flows()
	sizes := [...]func() int{t.sizes(), t.sizes(), t.sizes(), t.sizes()}
	return both(
		func() error { return up.send(total, sizes[0], nil) }, func() error { return up.receive(total, sizes[1]) },
		func() error { return down.send(total, sizes[2], nil) }, func() error { return down.receive(total, sizes[3]) },
	)
}

// slow has the reader begin when the writer has stopped, which happens long before all is sent.
func (t *trial) slow(p *pairOfEnds) error {
	const total = 16 << 20
	up, down := p.flows()
	f := up
	if t.full {
		f = down
	}
	// Hosts differ in how far TCP lets it grow.
	if err := f.from.SetWriteBuffer(64 << 10); err != nil {
		return err
	}
	var sent atomic.Int64
	return both(
		func() error { return f.send(total, always(32<<10), &sent) },
		func() error {
			for before := int64(-1); before != sent.Load(); time.Sleep(3 * time.Millisecond) {
				before = sent.Load()
			}
			if sent.Load() == total {
				return fmt.Errorf("all %d bytes were sent to a reader that does not read", total)
			}
			return f.receive(total, always(128<<10))
		},
	)
}

// halfClose has the reader send its FIN first, so that the writer's ends the connection while bytes are unread.
func (t *trial) halfClose(p *pairOfEnds) error {
	const total = 10_000
	f, back := p.flows()
	if t.full {
		f, back = back, f
	}
	if err := f.to.CloseWrite(); err != nil {
		return err
	}
	if err := back.end(); err != nil {
		return err
	}
	if err := f.send(total, always(3000), nil); err != nil {
		return err
	}
	if err := f.from.Close(); err != nil {
		return err
	}
	if err := waitOver(f.to, t.ends); err != nil {
		return err
	}
	if err := f.receive(total, always(4096)); err != nil {
		return err
	}
	return f.end()
}

// waitOver waits until TCP is done with a connection.
func waitOver(c *net.TCPConn, until time.Time) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	for time.Now().Before(until) {
		var info *unix.TCPInfo
		var errno error
		err := raw.Control(func(fd uintptr) { info, errno = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) })
		if err = errors.Join(err, errno); err != nil {
			return err
		}
		if info.State == unix.BPF_TCP_CLOSE {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the connection does not end")
}

// reset has it arrive behind unread bytes.
func (t *trial) reset(p *pairOfEnds) error {
	const total = 10_000
	f, down := p.flows()
	if t.full {
		f = down
	}
	if err := f.send(total, always(3000), nil); err != nil {
		return err
	}
	if err := f.from.SetLinger(0); err != nil {
		return err
	}
	if err := f.from.Close(); err != nil {
		return err
	}
	if err := waitOver(f.to, t.ends); err != nil {
		return err
	}
	if err := f.receive(total, always(4096)); err != nil {
		return err
	}
	switch _, err := f.to.Read(make([]byte, 1)); {
	case err == nil:
		return errors.New("received a byte in place of a reset")
	case !errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("read the reset: %w", err)
	}
	return nil
}

// splices has the application, into which nothing is redirected, read by splice(2), as some do.
func (t *trial) splices(p *pairOfEnds) error {
	const total = 512 << 10
	up, down := p.flows()
	return both(
		func() error { return up.send(total, always(16<<10), nil) }, func() error { return up.receive(total, always(16<<10)) },
		func() error { return down.send(total, always(16<<10), nil) }, func() error { return down.spliced(total) },
	)
}

// spliced is receive by splice, through a pipe.
func (f flow) spliced(total int) error {
	raw, err := f.to.SyscallConn()
	if err != nil {
		return err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	b, want := make([]byte, 32<<10), make([]byte, 32<<10)
	for at := 0; at < total; {
		var n int64
		var errno error
		err := raw.Read(func(fd uintptr) bool {
			n, errno = unix.Splice(int(fd), nil, pipe[1], nil, len(b), unix.SPLICE_F_NONBLOCK)
			return errno != unix.EAGAIN
		})
		if err = errors.Join(err, errno); err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("splice at %d of %d bytes: %w", at, total, err)
		}
		m, err := unix.Read(pipe[0], b[:n])
		if err != nil {
			return fmt.Errorf("read the pipe at %d of %d bytes: %w", at, total, err)
		}
		if f.fill(want[:n], at); m != int(n) || string(want[:n]) != string(b[:n]) {
			return fmt.Errorf("spliced other bytes than were sent, at %d of %d", at, total)
		}
		at += int(n)
	}
	return nil
}

// counts has the application ask how many bytes there are.
func (p *pairOfEnds) counts() error {
	const text = "five!"
	if _, err := p.proxy.Write([]byte(text)); err != nil {
		return err
	}
	raw, err := p.app.SyscallConn()
	if err != nil {
		return err
	}
	var waiting, peeked int
	var errno error
	err = raw.Read(func(fd uintptr) bool {
		b := make([]byte, len(text))
		if peeked, _, errno = unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT); errno == unix.EAGAIN {
			return false
		}
		if errno == nil {
			waiting, errno = unix.IoctlGetInt(int(fd), unix.TIOCINQ) // another name of FIONREAD
		}
		return true
	})
	if err = errors.Join(err, errno); err == nil && waiting < peeked {
		err = ErrUncounted
	}
	return err
}
