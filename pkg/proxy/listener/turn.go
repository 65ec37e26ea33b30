package listener

import (
	"context"
	"sync/atomic"

	"github.com/weir-proxy/weir/pkg/proxy/conn"
)

// turn is a goroutine's time to accept on a socket.
type turn struct {
	m    *Manager
	s    *socket
	over atomic.Bool
	// ctx is the manager's, for connections that are served by the goroutine: it ends the turn when something is going to wait.
	ctx context.Context
	// queued counts the connections that were there before they were waited for, one after the other.
	queued int
}

// patience is how many connections that are there already the goroutine serves one after the other. When they keep coming, the other
// processors are to have their part of it.
const patience = 4

// keeps tells who serves a connection: the goroutine of the turn, or for nil another one.
func (t *turn) keeps(accepted conn.Accepted) *turn {
	if t.queued++; accepted.Waited {
		t.queued = 0
	}
	if t.queued > patience {
		return nil
	}
	return t
}

func (m *Manager) newTurn(s *socket) *turn {
	t := &turn{m: m, s: s}
	t.ctx = conn.NoteWaits(m.ctx, t.pass)
	return t
}

// pass lets another goroutine accept. The caller's one, if it is that of the turn, is not going to any more.
func (t *turn) pass() {
	if t.over.CompareAndSwap(false, true) {
		t.m.loops.Go(func() { t.m.accept(t.s) })
	}
}
