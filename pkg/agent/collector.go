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
const (
	collectSlack  = 96 << 20 // bytes of garbage that are worth a collection
	collectLeast  = 100      // Go's default
	collectMost   = 400
	collectPeriod = time.Second
)

// collector keeps the percentage. It leaves a process alone whose operator has set GOGC.
type collector struct {
	timer   timer.Timer
	sample  [1]metrics.Sample
	percent int
}

func (c *collector) start(w *timer.Wheel) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	c.sample[0].Name = "/gc/heap/live:bytes"
	c.timer.Init(w, c.adjust)
	c.adjust()
}

func (c *collector) adjust() {
	metrics.Read(c.sample[:])
	if p := collectPercent(c.sample[0].Value.Uint64()); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
	c.timer.Arm(collectPeriod)
}

func (c *collector) stop() { c.timer.Release() }

// collectPercent is in steps of ten, so that it seldom changes.
func collectPercent(live uint64) int {
	p := collectSlack * 100 / max(live, 1) / 10 * 10
	return int(min(max(p, collectLeast), collectMost))
}
