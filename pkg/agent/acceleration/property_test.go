package acceleration

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	soakConnections = flag.Int("accel.connections", 0, "connections of the soak test, in each mode; 0: as many as fit into a few seconds")
	soakSeed        = flag.Uint64("accel.seed", 0, "seed of the soak test's patterns; 0 takes the time")
)

// pattern is what the two ends of one connection do. It follows from the seed alone.
type pattern struct {
	seed uint64
	up   direction
	down direction
	// reset: the client, or the server, resets in the middle instead of closing in order.
	resetBy int // 0 nobody, 1 client, 2 server
	resetAt int
}

// direction is one end's sending.
type direction struct {
	total    int
	maxChunk int // chunks of 1 to so many bytes
	maxRead  int // reads of so many bytes
	pauses   int // a pause about every so many chunks; 0: none
	slow     int // the reader pauses about every so many reads; 0: never
}

func newPattern(seed uint64) pattern {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := pattern{seed: seed, up: newDirection(rnd), down: newDirection(rnd)}
	if rnd.IntN(10) == 0 {
		p.resetBy = 1 + rnd.IntN(2)
		p.resetAt = rnd.IntN(1 + max(p.up.total, p.down.total))
	}
	return p
}

func newDirection(rnd *rand.Rand) direction {
	d := direction{maxChunk: 1 << rnd.IntN(18), maxRead: 1 << rnd.IntN(18)}
	chunks := 1 << rnd.IntN(6)
	if rnd.IntN(20) == 0 {
		chunks *= 8
	}
	d.total = rnd.IntN(min(chunks*d.maxChunk, 4<<20) + 1)
	d.maxRead = max(d.maxRead, d.total>>12) // no more than some thousand reads
	if rnd.IntN(4) == 0 {
		d.pauses = 1 + rnd.IntN(16)
	}
	if rnd.IntN(8) == 0 {
		d.slow = 1 + rnd.IntN(16)
	}
	return d
}

// fill writes the payload of a stream from offset at on: every eight bytes say where they belong.
func fill(p []byte, key uint64, at int) {
	var word [8]byte
	for i := 0; i < len(p); {
		n := (at + i) / 8
		binary.LittleEndian.PutUint64(word[:], key^uint64(n)*0x9e3779b97f4a7c15)
		i += copy(p[i:], word[(at+i)%8:])
	}
}

// send sends a direction's payload. stop, when not negative, is where it ends.
func send(c net.Conn, d direction, key uint64, stop int, rnd *rand.Rand) error {
	buf := make([]byte, d.maxChunk)
	for at := 0; at < d.total && (stop < 0 || at < stop); {
		n := min(1+rnd.IntN(d.maxChunk), d.total-at)
		fill(buf[:n], key, at)
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
		at += n
		pause(rnd, d.pauses)
	}
	return nil
}

// pause waits a little about every so many calls; that is the pattern, nothing is waited for.
func pause(rnd *rand.Rand, every int) {
	if every > 0 && rnd.IntN(every) == 0 {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Microsecond)
	}
}

// receive reads until the end and checks every byte. It gives how many came.
func receive(c net.Conn, d direction, key uint64, rnd *rand.Rand) (at int, err error) {
	buf, want := make([]byte, d.maxRead), make([]byte, d.maxRead)
	for {
		n, err := c.Read(buf)
		fill(want[:n], key, at)
		if string(buf[:n]) != string(want[:n]) {
			return at, fmt.Errorf("%w: %d bytes at %d of %d", errPayload, n, at, d.total)
		}
		at += n
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return at, err
		}
		pause(rnd, d.slow)
	}
}

var errPayload = errors.New("other bytes than were sent")

// end is one application: it sends, half-closes and reads until the other end has.
func end(c *net.TCPConn, out, in direction, outKey, inKey uint64, reset bool, resetAt int, seed uint64) error {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	stop := -1
	if reset {
		stop = resetAt
	}
	var sending sync.WaitGroup
	var sendErr error
	sending.Go(func() {
		sendErr = send(c, out, outKey, stop, rand.New(rand.NewPCG(seed, outKey)))
		if reset {
			_ = c.SetLinger(0)
			_ = c.Close()
		} else if sendErr == nil {
			sendErr = c.CloseWrite()
		}
	})
	got, err := receive(c, in, inKey, rand.New(rand.NewPCG(seed, inKey)))
	sending.Wait()
	if err == nil && got != in.total {
		err = fmt.Errorf("the stream ended at %d of %d", got, in.total)
	}
	return errors.Join(err, sendErr)
}

// patience is how long a connection may take on a busy machine before it counts as stuck.
const patience = 60 * time.Second

// run takes one connection through the rig.
func (p pattern) run(r *rig, servers *servers) error {
	nc, err := net.Dial(r.door.Addr().Network(), r.door.Addr().String())
	if err != nil {
		return err
	}
	client := nc.(*net.TCPConn)
	// The first eight bytes tell the server which pattern it is.
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], p.seed)
	served := servers.expect(p)
	if _, err := client.Write(head[:]); err != nil {
		client.Close()
		return err
	}
	err = end(client, p.up, p.down, p.seed, ^p.seed, p.resetBy == 1, p.resetAt, p.seed)
	var late error
	select {
	case late = <-served:
	case <-time.After(patience):
		late = errors.New("the server did not end")
	}
	err = errors.Join(err, late)
	if p.resetBy != 0 && !errors.Is(err, errPayload) && !isTimeout(err) {
		return nil // it broke off; what came before was right
	}
	return err
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// servers are the backend's connections.
type servers struct {
	mu      sync.Mutex
	waiting map[uint64]expected
	done    sync.WaitGroup
}

type expected struct {
	p    pattern
	done chan error
}

func (s *servers) expect(p pattern) chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(chan error, 1)
	s.waiting[p.seed] = expected{p, done}
	return done
}

// serve answers connections of the backend's listener until it closes.
func (s *servers) serve(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() {
			c := nc.(*net.TCPConn)
			var head [8]byte
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, head[:]); err != nil {
				c.Close()
				return
			}
			s.mu.Lock()
			e := s.waiting[binary.LittleEndian.Uint64(head[:])]
			delete(s.waiting, e.p.seed)
			s.mu.Unlock()
			e.done <- end(c, e.p.down, e.p.up, ^e.p.seed, e.p.seed, e.p.resetBy == 2, e.p.resetAt, e.p.seed)
		})
	}
}

// TestNoByteIsLostReorderedOrStuck is the soak test: connections of random patterns, many at once.
func TestNoByteIsLostReorderedOrStuck(t *testing.T) {
	for _, mode := range []struct {
		name, network string
		full          bool
		limit         uint64
	}{
		{"receive", "tcp4", false, 0},
		{"receive, little room", "tcp6", false, 16 << 10},
		{"full", "tcp6", true, 0},
		{"full, little room", "tcp4", true, 16 << 10},
	} {
		t.Run(mode.name, func(t *testing.T) {
			soak(t, newRig(t, mode.network, mode.full, mode.limit))
		})
	}
}

func soak(t *testing.T, r *rig) {
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-accel.seed %d", seed)
	ends := time.Now().Add(2 * time.Second)
	s := &servers{waiting: map[uint64]expected{}}
	s.done.Go(func() { s.serve(r.backend) })
	var next, failed atomic.Int64
	var clients sync.WaitGroup
	for range 48 {
		clients.Go(func() {
			for failed.Load() < 5 {
				n := next.Add(1)
				if *soakConnections > 0 && n > int64(*soakConnections) || *soakConnections == 0 && time.Now().After(ends) {
					return
				}
				p := newPattern(seed + uint64(n))
				if err := p.run(r, s); err != nil {
					failed.Add(1)
					t.Errorf("seed %d, %+v: %v", p.seed, p, err)
				}
			}
		})
	}
	clients.Wait()
	r.backend.Close()
	s.done.Wait()
	st := r.status(t)
	t.Logf("%d connections: %+v", next.Load(), st)
	if st.Accelerated == 0 || st.Messages == 0 {
		t.Errorf("nothing was accelerated: %+v", st)
	}
}
