package agent

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// The collector of garbage runs when the heap has grown by a percentage of what is alive. A proxy with a small
// configuration keeps so little alive that this would be after every few hundred TLS handshakes (9 % of their CPU,
// measured); one with a large configuration must not let garbage double its memory. So the percentage follows what is
// alive: as large as collectSlack allows, within bounds.
//
// A collection looks at all that is alive, on every core that has nothing else to do, and requests meanwhile compete with it. With a
// large configuration that takes 50 to 100 milliseconds, which is nearly one in a hundred requests when there is a collection every
// ten seconds, as when a thousand endpoints change each second. While they are that frequent for long, and not only during a load,
// garbage may be collectRoom, which makes them as rare as memory allows.
const (
	collectSlack  = 96 << 20 // bytes of garbage that are worth a collection
	collectLeast  = 100      // Go's default
	collectMost   = 400
	collectPeriod = time.Second

	collectRoom     = 320 << 20 // bytes of garbage while collections are frequent
	collectRoomMost = 300       // percent
)

// Collections are frequent from two on that follow upon each other within collectOften, though not at once as during a load, until
// there is none for collectCalm. The runtime itself makes one each two minutes.
const (
	collectAtOnce = 3 * time.Second
	collectOften  = 40 * time.Second
	collectCalm   = 90 * time.Second
)

// collector keeps the percentage. It leaves a process alone whose operator has set GOGC.
type collector struct {
	timer   timer.Timer
	sample  [2]metrics.Sample
	percent int
	pace    collectPace
}

func (c *collector) start(w *timer.Wheel) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	c.sample[0].Name, c.sample[1].Name = "/gc/heap/live:bytes", "/gc/cycles/total:gc-cycles"
	c.timer.Init(w, c.adjust)
	c.adjust()
}

func (c *collector) adjust() {
	metrics.Read(c.sample[:])
	c.pace.see(c.sample[1].Value.Uint64(), time.Now())
	if p := collectPercent(c.sample[0].Value.Uint64(), c.pace.frequent); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
	c.timer.Arm(collectPeriod)
}

func (c *collector) stop() { c.timer.Release() }

// collectPercent is in steps of ten, so that it seldom changes.
func collectPercent(live uint64, frequent bool) int {
	p := percentOf(collectSlack, live)
	if frequent {
		p = max(p, min(percentOf(collectRoom, live), collectRoomMost))
	}
	return int(min(max(p, collectLeast), collectMost))
}

func percentOf(garbage, live uint64) uint64 { return garbage * 100 / max(live, 1) / 10 * 10 }

// collectPace watches how often there are collections.
type collectPace struct {
	cycles   uint64
	last     time.Time // when the count was seen to rise
	frequent bool
}

// see is told how many collections there were so far.
func (p *collectPace) see(cycles uint64, now time.Time) {
	since := now.Sub(p.last)
	switch {
	case cycles != p.cycles:
		if cycles == p.cycles+1 && since >= collectAtOnce && since <= collectOften {
			p.frequent = true
		}
		p.cycles, p.last = cycles, now
	case since > collectCalm:
		p.frequent = false
	}
}
