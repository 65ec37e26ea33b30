package acceleration

import (
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	soakConnections = flag.Int("accel.connections", 0, "connections of the soak test, in each mode; 0: as many as fit into a second")
	soakSeed        = flag.Uint64("accel.seed", 0, "seed of the soak test's patterns; 0 takes the time")
)

// patience is how long a connection may take on a busy machine before it counts as stuck.
const patience = 60 * time.Second

// run takes one connection through the rig.
func (p pattern) run(r *rig, servers *servers) error {
	nc, err := net.Dial(r.door.Addr().Network(), r.door.Addr().String())
	if err != nil {
		return err
	}
	c := nc.(*net.TCPConn)
	defer c.Close()
	served := servers.expect(p)
	err = p.runClient(c, !r.full)
	c.Close()
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

func (p pattern) runClient(c *net.TCPConn, spliceable bool) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	// The first eight bytes tell the server which pattern it is.
	var head [8]byte
	binary.LittleEndian.PutUint64(head[:], p.seed)
	if _, err := c.Write(head[:]); err != nil {
		return err
	}
	if err := p.ask(c); err != nil {
		return err
	}
	return p.client(c, spliceable).run()
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// servers are the backend's connections.
type servers struct {
	spliceable bool
	done       sync.WaitGroup

	mu      sync.Mutex
	waiting map[uint64]expected
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

func (s *servers) take(seed uint64) expected {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.waiting[seed]
	delete(s.waiting, seed)
	return e
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
			defer c.Close()
			var head [8]byte
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			e := s.take(binary.LittleEndian.Uint64(head[:]))
			if err := e.p.answer(c); err != nil {
				e.done <- err
				return
			}
			e.done <- e.p.server(c, s.spliceable).run()
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
	ends := time.Now().Add(time.Second)
	s := &servers{spliceable: !r.full, waiting: map[uint64]expected{}}
	s.done.Go(func() { s.serve(r.backend) })
	var next, done, failed atomic.Int64
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
				done.Add(1)
			}
		})
	}
	clients.Wait()
	r.backend.Close()
	s.done.Wait()
	st := r.status(t)
	t.Logf("%d connections: %+v", done.Load(), st)
	if st.Accelerated == 0 || st.Messages == 0 {
		t.Errorf("nothing was accelerated: %+v", st)
	}
}
