package handover

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// roundLimit bounds for how long a round of statistics may wait for the other process.
const roundLimit = 5 * time.Second

// Summary ends a round of statistics.
type Summary struct {
	// Connections are those of the process, Memory is what it has allocated, in bytes.
	Connections, Memory uint64
}

// Rounds are the statistics of the older process for one newer one. A round is under way at a time.
type Rounds interface {
	// Round gives what has changed since the last one, until give returns an error, which it returns.
	Round(give func(*Series) error) (Summary, error)
}

// giving sends the statistics of this process to a newer one.
type giving struct {
	conn   *net.UnixConn
	rounds Rounds

	mu    sync.Mutex // a round at a time
	ended bool
	batch batch
}

// newGiving takes the end of a channel that the newer process has made.
func newGiving(file *os.File, rounds Rounds) (*giving, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("take the channel for statistics: %w", err)
	}
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("take the channel for statistics: it is a %T", conn), conn.Close())
	}
	return &giving{conn: c, rounds: rounds}, nil
}

// run answers until the newer process ends, or does not read.
func (g *giving) run(log *slog.Logger) {
	defer g.close()
	for {
		m, file, err := receive(g.conn)
		if err != nil {
			return // it ends, or this one does
		}
		if file != nil {
			file.Close()
		}
		if m.Verb != verbGive {
			log.Warn("the next weir asks for statistics in another way", "verb", m.Verb)
			return
		}
		if err := g.round(); err != nil {
			log.Warn("the next weir does not take the statistics", "error", err)
			return
		}
	}
}

// round sends what has changed.
func (g *giving) round() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return net.ErrClosed
	}
	deadline := time.Now().Add(roundLimit)
	g.batch.reset()
	summary, err := g.rounds.Round(func(s *Series) error {
		if len(s.Name) == 0 || len(s.Name) > maxName {
			return nil
		}
		g.batch.add(s)
		if len(g.batch.data) < maxBatch-maxName-64 {
			return nil
		}
		return g.flush(deadline)
	})
	if err == nil {
		err = g.flush(deadline)
	}
	if err == nil {
		err = sendBy(g.conn, message{Verb: verbGiven, Connections: summary.Connections, Memory: summary.Memory}, -1, deadline)
	}
	g.ended = err != nil
	return err
}

func (g *giving) flush(deadline time.Time) error {
	if len(g.batch.data) == 0 {
		return nil
	}
	err := sendBy(g.conn, message{Verb: verbSeries, Data: g.batch.data}, -1, deadline)
	g.batch.reset()
	return err
}

// last sends what has changed without being asked, since this process ends. It tells whether the newer one has it.
func (g *giving) last() bool {
	err := g.round()
	g.close()
	return err == nil
}

func (g *giving) close() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	_ = g.conn.Close() // nothing is expected from it any more
}
