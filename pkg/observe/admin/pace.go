package admin

import (
	"context"
	"runtime"
	"time"
)

// A listing of some hundred thousand entries is tens of milliseconds of work for a core that requests of the proxy need, too, and
// reading it each second would be seen in their latency. So who writes one lets others have the core before each piece, and rests
// after some of them, when what has come from the network meanwhile is looked for, too. Falling asleep and waking up costs about as
// much as a piece, so it does not rest more often than that. A listing that is short never does, and a long one only for so long
// altogether.
const (
	paceWork  = 250 * time.Microsecond // what is done at a time, at least
	paceRest  = time.Millisecond       // the least that the runtime's timers know when nothing else goes on
	paceTotal = 400 * time.Millisecond // of rests in one answer
)

// pacer has the writer of an answer rest now and then. The zero value has not begun. It is of one goroutine.
type pacer struct {
	since  time.Time
	rested time.Duration
	timer  *time.Timer
}

// rest is called before each piece but the first is written. It returns early when ctx ends.
func (p *pacer) rest(ctx context.Context) {
	begin := time.Now()
	if p.rested >= paceTotal || begin.Sub(p.since) < paceWork {
		runtime.Gosched()
		return
	}
	if p.timer == nil {
		p.timer = time.NewTimer(paceRest)
	} else {
		p.timer.Reset(paceRest)
	}
	select {
	case <-p.timer.C:
	case <-ctx.Done():
		p.timer.Stop()
	}
	p.since = time.Now()
	p.rested += p.since.Sub(begin)
}
