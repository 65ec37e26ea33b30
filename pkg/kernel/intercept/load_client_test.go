package intercept

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// burst is what a client process is to do many times.
type burst struct {
	Addr string
	// Spread is over how many addresses from Addr on the connections go, in turn.
	Spread int
	// Times in all, by so many Threads at a time.
	Times, Threads int
	// How each connection ends, in turn; see the constants.
	How []string
	// Hold keeps connections open, up to the process's end, which is that of its standard input.
	Hold bool
	// SynCount is TCP_SYNCNT, 0 for the system's.
	SynCount int
	// Send is how many bytes each connection sends before it reads the greeting.
	Send int
}

// Ways in which a client ends a connection.
const (
	endGreeted = "greeted" // it reads the greeting and closes
	endReset   = "reset"   // it reads the greeting and resets
	endAborted = "aborted" // it closes before the connection is there
	endUnread  = "unread"  // it closes without reading, which resets
	endTwice   = "twice"   // it dissolves the connection and makes another one on the same socket
)

// tally is what came of a burst.
type tally struct {
	Greetings map[string]int
	Errnos    map[int]int
	// PerConnect is the time of connect() in nanoseconds, the lower quartile: what it takes when nothing else runs.
	PerConnect int64
	// Elapsed is how long all of it took, in nanoseconds.
	Elapsed int64
	mu      sync.Mutex
	times   []int64
}

func runBurst(text string) *tally {
	var b burst
	out := &tally{Greetings: make(map[string]int), Errnos: make(map[int]int)}
	if json.Unmarshal([]byte(text), &b) != nil {
		return out
	}
	dst := netip.MustParseAddrPort(b.Addr)
	next, start := make(chan int), time.Now()
	var threads sync.WaitGroup
	for range max(b.Threads, 1) {
		threads.Go(func() {
			for n := range next {
				out.one(b, spreadAddr(dst, n, b.Spread), b.How[n%len(b.How)])
			}
		})
	}
	for n := range b.Times {
		next <- n
	}
	close(next)
	threads.Wait()
	out.Elapsed = time.Since(start).Nanoseconds()
	if len(out.times) > 0 {
		slices.Sort(out.times)
		out.PerConnect = out.times[len(out.times)/4]
	}
	return out
}

// spreadAddr gives the n-th of so many consecutive IPv4 addresses.
func spreadAddr(first netip.AddrPort, n, over int) netip.AddrPort {
	if over == 0 {
		return first
	}
	addr := first.Addr().As4()
	at := int(addr[2])<<8 + int(addr[3]) + n%over
	addr[2], addr[3] = byte(at>>8), byte(at)
	return netip.AddrPortFrom(netip.AddrFrom4(addr), first.Port())
}

// reach connects, also when a signal of the Go runtime comes in between: the kernel goes on connecting then.
func reach(fd int, dst netip.AddrPort, mapped bool) error {
	err := unix.Connect(fd, sockaddr(dst, mapped))
	if errors.Is(err, unix.EINTR) {
		err = finish(fd)
	}
	return err
}

func (t *tally) one(b burst, dst netip.AddrPort, how string) {
	fd, err := openSocket(request{NonBlocking: how == endAborted}, dst)
	if err == nil && b.SynCount > 0 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, b.SynCount)
	}
	var took time.Duration
	if err == nil {
		start := time.Now()
		err = reach(fd, dst, false)
		took = time.Since(start)
	}
	text := ""
	if err == nil && how == endTwice {
		err = disconnect(fd)
		if err == nil {
			err = reach(fd, dst, false)
		}
	}
	if err == nil && b.Send > 0 {
		_, err = unix.Write(fd, make([]byte, b.Send))
	}
	if err == nil && how != endAborted && how != endUnread {
		text, err = greeting(fd)
	}
	if how == endReset {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if !b.Hold || err != nil {
		unix.Close(fd)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var errno unix.Errno
	if errors.As(err, &errno) {
		t.Errnos[int(errno)]++
		return
	}
	t.Greetings[text]++
	t.times = append(t.times, took.Nanoseconds())
}

// clients runs a burst in a process of its own in the cgroup.
func clients(t testing.TB, dir string, b burst) *tally {
	t.Helper()
	p := startClients(t, dir, b)
	p.stop()
	return p.tally
}

// clientProcess is a burst whose process may hold connections.
type clientProcess struct {
	*tally
	stop func()
	kill func()
}

func startClients(t testing.TB, dir string, b burst) *clientProcess {
	t.Helper()
	if len(b.How) == 0 {
		b.How = []string{endGreeted}
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	cmd := spawn(t, dir, "clients")
	cmd.Env = append(cmd.Env, "WEIR_TEST_REQUEST="+string(text))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &clientProcess{tally: &tally{}}
	p.stop = func() { in.Close(); cmd.Wait() }
	p.kill = func() { cmd.Process.Kill(); cmd.Wait() }
	if err := json.NewDecoder(out).Decode(p.tally); err != nil {
		p.kill()
		t.Fatalf("clients: %v", err)
	}
	t.Cleanup(p.stop)
	return p
}
