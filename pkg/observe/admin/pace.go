package admin

import (
	"context"
	"time"
)

// A listing of some hundred thousand entries is tens of milliseconds of work for a core that requests of the proxy need, too, and
// reading it each second would be seen in their latency. So who writes one rests after each piece. A listing that is short never
// does, and a long one only for so long altogether.
const (
	paceWork  = 150 * time.Microsecond // what is done at a time, at least
	paceRest  = time.Millisecond       // the least that the runtime's timers know when nothing else goes on
	paceTotal = 400 * time.Millisecond // of rests in one answer
)

// pacer has the writer of an answer rest now and then. The zero value has not begun. It is of one goroutine.
type pacer struct {
	since  time.Time
	rested time.Duration
}

// rest is called before each piece but the first is written. It returns early when ctx ends.
func (p *pacer) rest(ctx context.Context) {
	begin := time.Now()
	if p.rested >= paceTotal || begin.Sub(p.since) < paceWork {
		return
	}
	pause := time.NewTimer(paceRest)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	p.since = time.Now()
	p.rested += p.since.Sub(begin)
}
