package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Load that leaves room on two cores: keep-alive connections to each server, and requests a second to it.
//
// The requests come at random times (a Poisson process) whether or not earlier ones are answered, and the latency of each counts
// from when it was due, so that a server that stalls is charged with all the requests that came meanwhile. A generator that sends
// on all connections at the same beat, as h2load's -rps does, measures mostly how long its own burst takes to get through.
const (
	connections = 16
	perSecond   = 960
	answerLimit = 2 * time.Second
)

// requester is a process of its own that sends requests to several servers in turn and writes their latencies down. It does not
// allocate once it has begun, and its collector of garbage is off.
type requester struct {
	epoll   int
	timer   int
	begin   time.Time
	targets []*target
	events  [64]unix.EpollEvent
	conns   map[int32]*client
	random  *rand.Rand
}

// target is a server.
type target struct {
	free   []*client
	due    []time.Duration // of requests that wait for a connection
	next   time.Duration
	sent   int
	took   []uint32 // microseconds
	flying int
}

// client is a connection.
type client struct {
	fd     int
	target *target
	due    time.Duration
	got    []byte
}

// serveRequests is the process: it loads the servers "host:port,host:port" for a while and writes, for each, how many latencies there
// are and the latencies, as little-endian 32 bit numbers.
func serveRequests(servers string, length time.Duration) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	r := &requester{conns: make(map[int32]*client), random: rand.New(rand.NewPCG(1, 2))}
	if err := r.open(strings.Split(servers, ","), length); err != nil {
		return err
	}
	if err := r.run(length); err != nil {
		return err
	}
	var out []byte
	for _, t := range r.targets {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(t.took)))
		for _, us := range t.took {
			out = binary.LittleEndian.AppendUint32(out, us)
		}
	}
	_, err := os.Stdout.Write(out)
	return err
}

func (r *requester) open(servers []string, length time.Duration) (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make epoll: %w", err)
	}
	if r.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("make timer: %w", err)
	}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, r.timer, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(r.timer)}); err != nil {
		return fmt.Errorf("watch timer: %w", err)
	}
	most := 2 * perSecond * int(length.Seconds()+1)
	for _, server := range servers {
		at, err := net.ResolveTCPAddr("tcp4", server)
		if err != nil {
			return err
		}
		t := &target{took: make([]uint32, 0, most), due: make([]time.Duration, 0, most)}
		for range connections {
			c := &client{target: t, got: make([]byte, 0, 4096)}
			if c.fd, err = dial(at); err != nil {
				return fmt.Errorf("connect to %s: %w", server, err)
			}
			if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)}); err != nil {
				return fmt.Errorf("watch connection: %w", err)
			}
			r.conns[int32(c.fd)] = c
			t.free = append(t.free, c)
		}
		r.targets = append(r.targets, t)
	}
	return nil
}

func dial(at *net.TCPAddr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())}); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return 0, err
	}
	return fd, unix.SetNonblock(fd, true)
}

// run sends what is due, sleeps until something is, or is answered, and ends when all is answered.
func (r *requester) run(length time.Duration) error {
	r.begin = time.Now()
	for _, t := range r.targets {
		t.next = r.gap()
	}
	for {
		now, wake, flying := time.Since(r.begin), length+answerLimit, 0
		for _, t := range r.targets {
			for t.next <= now && t.next < length {
				t.due = append(t.due, t.next)
				t.next += r.gap()
			}
			if err := t.send(); err != nil {
				return err
			}
			flying += t.flying
			if t.next < length {
				wake = min(wake, t.next)
			}
		}
		if now >= length && flying == 0 {
			return nil
		}
		if now >= length+answerLimit {
			return fmt.Errorf("%d requests were not answered within %v", flying, answerLimit)
		}
		if err := r.wait(wake); err != nil {
			return err
		}
	}
}

func (r *requester) gap() time.Duration {
	return time.Duration(r.random.ExpFloat64() * float64(time.Second) / perSecond)
}

// send sends the requests that are due, as far as there are connections.
func (t *target) send() error {
	for len(t.due) > 0 && len(t.free) > 0 {
		c := t.free[0]
		t.free = append(t.free[:0], t.free[1:]...)
		c.due, t.due = t.due[0], append(t.due[:0], t.due[1:]...)
		t.sent++
		t.flying++
		if _, err := unix.Write(c.fd, texts[t.sent%len(texts)]); err != nil {
			return fmt.Errorf("send request: %w", err)
		}
	}
	return nil
}

// texts are the requests, one for each route of the loaded host. Read only.
var texts = func() (out [routesPerHost][]byte) {
	for n := range out {
		out[n] = fmt.Appendf(nil, "GET /r%d HTTP/1.1\r\nHost: bench\r\nUser-Agent: benchxds\r\n\r\n", n)
	}
	return out
}()

// wait sleeps until a time or the first answer, and takes the answers.
func (r *requester) wait(until time.Duration) error {
	in := max(until-time.Since(r.begin), 1)
	if err := unix.TimerfdSettime(r.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	n, err := unix.EpollWait(r.epoll, r.events[:], -1)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for answers: %w", err)
	}
	for _, e := range r.events[:n] {
		if c := r.conns[e.Fd]; c != nil {
			if err := c.read(r.begin); err != nil {
				return err
			}
		}
	}
	return nil
}

// read takes what there is of the answer, which must be good.
func (c *client) read(begin time.Time) error {
	n, err := unix.Read(c.fd, c.got[len(c.got):cap(c.got)])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("read answer: %w", err)
	case n == 0:
		return errors.New("the server closed a connection")
	}
	c.got = c.got[:len(c.got)+n]
	whole, err := answered(c.got)
	if err != nil || !whole {
		return err
	}
	t := c.target
	t.took = append(t.took, uint32((time.Since(begin) - c.due).Microseconds()))
	c.got = c.got[:0]
	t.flying--
	t.free = append(t.free, c)
	return nil
}

var (
	good       = []byte("HTTP/1.1 200 ")
	headersEnd = []byte("\r\n\r\n")
)

// answered tells whether an answer is complete. One that is not a 200 with the backend's text is an error.
func answered(got []byte) (bool, error) {
	end := bytes.Index(got, headersEnd)
	if end < 0 {
		return false, nil
	}
	body := got[end+len(headersEnd):]
	if !bytes.HasPrefix(got, good) || len(body) > len(backendText) {
		return false, fmt.Errorf("a request failed: %q", got)
	}
	return len(body) == len(backendText), nil
}

// latencies of requests through weir and, at the same time, of as many that go straight to the backend: what the machine and the rest
// of the bench do to latency shows in both, and only what weir does in the first.
type sample struct {
	through, direct []uint32
}

// requests measures for a while. It is an error when a request fails.
func (b *bench) requests(ctx context.Context, port int, length time.Duration) (s sample, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	servers := net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) + "," + net.JoinHostPort(liveAddress(1), strconv.Itoa(b.backend.port))
	process := exec.CommandContext(ctx, "nice", "-n", priority, self, "-requests", servers, "-storm", length.String())
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var said bytes.Buffer
	process.Stderr = &said
	out, err := process.Output()
	if err != nil {
		return s, fmt.Errorf("send requests: %w: %s", err, said.Bytes())
	}
	for _, to := range []*[]uint32{&s.through, &s.direct} {
		if len(out) < 4 {
			return s, errors.New("send requests: the report is cut off")
		}
		n := int(binary.LittleEndian.Uint32(out))
		out = out[4:]
		if len(out) < 4*n || n == 0 {
			return s, errors.New("send requests: the report is cut off")
		}
		for range n {
			*to = append(*to, binary.LittleEndian.Uint32(out))
			out = out[4:]
		}
	}
	return s, nil
}
