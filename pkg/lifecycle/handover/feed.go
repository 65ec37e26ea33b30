package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Heir is the newer process, as far as it takes over statistics. Its methods are called by one goroutine.
type Heir interface {
	// Series tells of one that has changed.
	Series(s *Series)
	// Round is the end of a round.
	Round(s Summary)
	// End tells that the older process has ended, or gives no statistics any more; it is the last call. The error is nil when that is
	// as it should be.
	End(err error)
}

// Feed are the statistics of the older process. It outlives the Predecessor, and lasts until Close or the end of the older process.
type Feed struct {
	conn *net.UnixConn
	done sync.WaitGroup
	// gone is closed when all that the older process told has been handed on, and nothing more comes.
	gone chan struct{}

	mu     sync.Mutex
	ended  bool
	closed bool
	// round is closed with the end of the round that was asked for; nil when none is under way.
	round chan struct{}
	// late tells that the one under way has been waited for in vain.
	late bool
}

// Statistics begins to take the statistics of the older process over; nil without an error when it has none to give, since it is of an
// earlier version.
func (p *Predecessor) Statistics(ctx context.Context, h Heir) (*Feed, error) {
	if p.origin.format != seriesFormat {
		return nil, nil
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a channel for statistics: %w", err)
	}
	own, other := os.NewFile(uintptr(ends[0]), "statistics"), os.NewFile(uintptr(ends[1]), "statistics")
	defer own.Close()
	defer other.Close()
	if err := p.askWith(ctx, message{Verb: verbStatistics}, ends[1]); err != nil {
		return nil, fmt.Errorf("take over the statistics of the weir with pid %d: %w", p.pid, err)
	}
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("use the channel for statistics: %w", err)
	}
	f := &Feed{conn: conn.(*net.UnixConn), gone: make(chan struct{})}
	f.done.Go(func() { f.run(h) })
	return f, nil
}

// Ask has the older process tell what has changed, and waits until it has, for at most limit; with 0 it does not wait. When that process
// has ended, it waits for what it told last. Once it has waited in vain it does not wait again for the same answer, and reports that it
// came late.
func (f *Feed) Ask(limit time.Duration) (late bool) {
	if f == nil {
		return false
	}
	f.mu.Lock()
	round := f.round
	if f.ended || f.late {
		defer f.mu.Unlock()
		return f.late && !f.ended
	}
	if round == nil {
		if send(f.conn, message{Verb: verbGive}, -1) == nil {
			round = make(chan struct{})
			f.round = round
		} else {
			round = f.gone // it has ended, which run notices behind what is still to be read
		}
	}
	f.mu.Unlock()
	if limit == 0 {
		return false
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-round:
		return false
	case <-timer.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = f.round == round
	return f.late
}

// Close gives the statistics up.
func (f *Feed) Close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	_ = f.conn.Close() // run ends by it
	f.done.Wait()
}

func (f *Feed) run(h Heir) {
	err := f.read(h)
	_ = f.conn.Close() // the older process ships what is left itself
	f.mu.Lock()
	f.ended = true
	if f.closed {
		err = nil
	}
	f.answered()
	f.mu.Unlock()
	close(f.gone)
	h.End(err)
}

// read hands on what the older process tells until it ends.
func (f *Feed) read(h Heir) error {
	reset := false
	for {
		m, file, err := receive(f.conn)
		if !reset && errors.Is(err, syscall.ECONNRESET) {
			reset = true // it left a question unread: what it told before that is behind the error
			continue
		}
		if over(err) {
			return nil
		}
		if file != nil {
			file.Close()
		}
		switch {
		case err != nil:
			return err
		case m.Verb == verbSeries:
			if err := readBatch(m.Data, h.Series); err != nil {
				return err
			}
		case m.Verb == verbGiven:
			h.Round(Summary{Connections: m.Connections, Memory: m.Memory})
			f.mu.Lock()
			f.answered()
			f.mu.Unlock()
		default:
			return fmt.Errorf("the older weir sent %s among statistics", m.Verb)
		}
	}
}

// answered ends the wait for a round. Called with mu held.
func (f *Feed) answered() {
	if f.round != nil {
		close(f.round)
	}
	f.round, f.late = nil, false
}
