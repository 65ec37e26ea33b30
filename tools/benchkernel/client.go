package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// job is what a client is to do. One of its members is set.
type job struct {
	Connect  *connects `json:",omitempty"`
	Bulk     *transfer `json:",omitempty"`
	Requests *requests `json:",omitempty"`
	Obey     *obeyed   `json:",omitempty"`
}

// connects are connections, one after the other.
type connects struct {
	Addr string
	// Spread is over how many addresses from Addr on they go, in turn, beginning with number From.
	Spread, From int
	Times        int
	// Greeted waits for the first byte, and counts that. What is not greeted is reset, so that no port stays in use.
	Greeted bool
}

// transfer is one connection that receives, or sends, so many bytes.
type transfer struct {
	Addr  string
	Bytes int64
	Send  bool
}

// requests are HTTP requests on so many connections at once for a while.
type requests struct {
	Addr         string
	Connections  int
	Milliseconds int
}

// obeyed connects again and again until the greeting is Want.
type obeyed struct {
	Addr string
	Want byte
}

// outcome is what came of a job.
type outcome struct {
	// Nanoseconds: of connects the lower quartile, which is what each takes when nothing else runs; of a transfer all of it; of
	// obeyed when the first connection began that obeyed, and those after it, by the clock of the host.
	Nanoseconds int64
	// Alone is the same of connect() without what follows.
	Alone int64
	// Stalled is the longest that a client was held up between two connections while it waited for a change.
	Stalled int64
	// Done is how many requests were answered.
	Done int
}

// beClient does jobs until its input ends.
func beClient(in io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	return answerAll(in, out, func(j job) (any, error) {
		switch {
		case j.Connect != nil:
			return j.Connect.run()
		case j.Bulk != nil:
			return j.Bulk.run()
		case j.Requests != nil:
			return j.Requests.run()
		case j.Obey != nil:
			return j.Obey.run()
		default:
			return nil, errors.New("the job is empty")
		}
	})
}

func (c *connects) run() (*outcome, error) {
	first, err := netip.ParseAddrPort(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("parse address: %w", err)
	}
	times, alone := make([]int64, 0, c.Times), make([]int64, 0, c.Times)
	for n := range c.Times {
		took, connected, _, err := c.one(sockaddr(spread(first, c.From+n, c.Spread)))
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", c.Addr, err)
		}
		times, alone = append(times, took), append(alone, connected)
	}
	slices.Sort(times)
	slices.Sort(alone)
	return &outcome{Nanoseconds: times[len(times)/4], Alone: alone[len(alone)/4]}, nil
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// one makes a connection by plain system calls, as a program in C does, and tells what connect() took, alone and together with
// close() or with the first byte.
func (c *connects) one(to *unix.SockaddrInet4) (took, connected int64, greeting byte, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, 0, err
	}
	if !c.Greeted {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	} else {
		patience := unix.NsecToTimeval(patience.Nanoseconds())
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
	}
	if err != nil {
		return 0, 0, 0, errors.Join(err, unix.Close(fd))
	}
	start, err := now()
	if err != nil {
		return 0, 0, 0, errors.Join(err, unix.Close(fd))
	}
	if err := rawConnect(fd, to); err != nil {
		return 0, 0, 0, errors.Join(err, unix.Close(fd))
	}
	middle, err := now()
	if !c.Greeted {
		err = errors.Join(err, rawClose(fd))
		end, failed := now()
		return end - start, middle - start, 0, errors.Join(err, failed)
	}
	var buf [1]byte
	n, err := rawRead(fd, buf[:])
	end, failed := now()
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	return end - start, middle - start, buf[0], errors.Join(err, failed, rawClose(fd))
}

func (t *transfer) run() (*outcome, error) {
	c, err := net.DialTimeout("tcp4", t.Addr, patience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	count := t.Bytes
	if t.Send {
		count = -count
	}
	start := time.Now()
	if _, err := c.Write(binary.BigEndian.AppendUint64(nil, uint64(count))); err != nil {
		return nil, err
	}
	buf := make([]byte, bulkPiece)
	expect := t.Bytes
	if t.Send {
		for left := t.Bytes; left > 0; left -= min(left, bulkPiece) {
			if _, err := c.Write(buf[:min(left, bulkPiece)]); err != nil {
				return nil, err
			}
		}
		expect = 1
	}
	for expect > 0 {
		n, err := c.Read(buf)
		if expect -= int64(n); err != nil && expect > 0 {
			return nil, fmt.Errorf("%d bytes are missing: %w", expect, err)
		}
	}
	return &outcome{Nanoseconds: time.Since(start).Nanoseconds()}, nil
}

func (r *requests) run() (*outcome, error) {
	var work sync.WaitGroup
	done, failed := make([]int, r.Connections), make([]error, r.Connections)
	end := time.Now().Add(time.Duration(r.Milliseconds) * time.Millisecond)
	for i := range r.Connections {
		work.Go(func() { done[i], failed[i] = r.one(end) })
	}
	work.Wait()
	sum := 0
	for _, n := range done {
		sum += n
	}
	return &outcome{Done: sum}, errors.Join(failed...)
}

// one makes requests on one connection until the end.
func (r *requests) one(end time.Time) (done int, err error) {
	c, err := net.DialTimeout("tcp4", r.Addr, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(end.Add(patience)); err != nil {
		return 0, fmt.Errorf("set deadline: %w", err)
	}
	const body, status = 1024, "HTTP/1.1 200 OK\r\n"
	request := []byte("GET / HTTP/1.1\r\nhost: shop.example\r\nuser-agent: bench\r\naccept: */*\r\n\r\n")
	in := bufio.NewReader(c)
	for ; time.Now().Before(end); done++ {
		if _, err := c.Write(request); err != nil {
			return done, err
		}
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			if err != nil || (first && string(line) != status) {
				return done, fmt.Errorf("read a response: %w: %q", err, line)
			}
			if len(line) == len("\r\n") {
				break
			}
		}
		if _, err := in.Discard(body); err != nil {
			return done, fmt.Errorf("read a body: %w", err)
		}
	}
	return done, nil
}

// pollPause is how long a client rests between two connections while it waits for a change, for there are few processors.
const pollPause = 200 * time.Microsecond

// sure is how many connections have to obey before a change is taken to be in force.
const sure = 3

func (o *obeyed) run() (*outcome, error) {
	addr, err := netip.ParseAddrPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("parse address: %w", err)
	}
	to, give := sockaddr(addr), time.Now().Add(patience)
	c := connects{Greeted: true}
	var since, before, stalled int64
	for obeyed := 0; ; {
		began, err := now()
		if err != nil {
			return nil, err
		}
		if before != 0 {
			stalled = max(stalled, began-before)
		}
		before = began
		_, _, greeting, err := c.one(to)
		switch {
		case err != nil:
			return nil, fmt.Errorf("connect to %s: %w", o.Addr, err)
		case greeting != o.Want && obeyed > 0:
			return nil, fmt.Errorf("%s was obeyed and then was not", o.Addr)
		case greeting == o.Want:
			if obeyed++; obeyed == 1 {
				since = began
			}
		}
		if obeyed == sure {
			return &outcome{Nanoseconds: since, Stalled: stalled}, nil
		}
		if time.Now().After(give) {
			return nil, fmt.Errorf("%s is not obeyed", o.Addr)
		}
		rest := unix.NsecToTimespec(pollPause.Nanoseconds())
		_ = unix.Nanosleep(&rest, nil) // a signal ends the rest, no harm
	}
}
