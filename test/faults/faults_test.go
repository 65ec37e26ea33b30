package faults

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

var (
	duration = flag.Duration("faults.for", 15*time.Second, "how long weir is killed and stopped, over all policies")
	seed     = flag.Uint64("faults.seed", 0, "seed of the moments; 0 takes one of the clock")
)

// span is a stretch of CLOCK_MONOTONIC.
type span struct{ from, to int64 }

func overlaps(spans []span, e event) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return e.begin <= s.to && s.from <= e.end })
}

// tormentor does to weir what may happen to a process.
type tormentor struct {
	*rig
	random *rand.Rand
	weir   *harness.Weir
	// kills last from the signal until the process is gone, absences until another weir serves.
	kills, absences []span
	stops, unready  int
}

// wait lasts for a random time: the moment is what is tested.
func (m *tormentor) wait(least, most time.Duration) {
	m.t.Helper()
	select {
	case <-time.After(least + time.Duration(m.random.Int64N(int64(most-least)))):
	case <-m.t.Context().Done():
	}
}

// kill kills weir and gives when.
func (m *tormentor) kill() int64 {
	from := monotonic(m.t)
	m.weir.Kill()
	m.kills = append(m.kills, span{from, monotonic(m.t)})
	return from
}

// round is one thing that happens to weir; weir serves afterwards.
func (m *tormentor) round() {
	m.wait(10*time.Millisecond, 500*time.Millisecond)
	what := m.random.IntN(10)
	if what < 5 { // it is stopped, and killed before it goes on, or not
		m.stops++
		m.weir.Signal(syscall.SIGSTOP)
		m.wait(time.Millisecond, 300*time.Millisecond)
		if what < 4 {
			m.weir.Signal(syscall.SIGCONT)
			return
		}
	}
	from := m.kill()
	m.wait(time.Millisecond, 200*time.Millisecond)
	for m.random.IntN(3) == 0 {
		m.unready++
		m.weir = m.start(false)
		m.wait(time.Millisecond, 300*time.Millisecond)
		m.kill()
	}
	m.weir = m.start(true)
	m.absences = append(m.absences, span{from, monotonic(m.t)})
}

// policy is what a configuration promises to captured connections while no weir is there.
type policy struct {
	persistence, fail string
	// without is what they may meet then.
	without []string
	// offload is whether connections that the kernel answers go on.
	offload bool
}

// TestKilledAtAnyMoment kills and stops weir at random moments under load and counts what clients saw. Captured connections obey the
// fail policy; only those that weir had taken when it was killed may break; neighbours see nothing at all.
func TestKilledAtAnyMoment(t *testing.T) {
	policies := []policy{
		{"PROCESS", "OPEN", []string{"direct!"}, false},
		{"UNTIL_STOPPED", "OPEN", []string{"direct!"}, true},
		{"UNTIL_STOPPED", "CLOSED", []string{"connect ECONNREFUSED"}, true},
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	for _, p := range policies {
		t.Run(p.persistence+" "+p.fail, func(t *testing.T) {
			m := &tormentor{rig: newRig(t, p.persistence, p.fail), random: rand.New(rand.NewPCG(*seed, 0))}
			m.weir = m.start(true)
			captured := []string{real + "=weir!", real + "=weir!"}
			if p.offload {
				captured = append(captured, offloaded+"=kernel!", offloaded+"+kernel!")
			}
			app := startLoad(t, m.host.App().In(m.group), captured...)
			neighbours := []*load{
				startLoad(t, m.host.App().In(m.other), real+"=direct!", real+"+direct!"),
				startLoad(t, m.remote.App(), real+"=direct!", real+"+direct!"),
			}
			for end := time.Now().Add(*duration / time.Duration(len(policies))); time.Now().Before(end); {
				m.round()
			}
			m.judge(p, app.end(), neighbours[0].end(), neighbours[1].end())
			m.weir.Stop()
			if states, err := pin.List(m.fs); len(states) > 0 || err != nil {
				t.Errorf("pinned after an ordered stop: %+v (%v)", states, err)
			}
		})
	}
}

// judge compares what clients saw with what was promised.
func (m *tormentor) judge(p policy, app seen, neighbours ...seen) {
	t := m.t
	t.Helper()
	absent := time.Duration(0)
	for _, a := range m.absences {
		absent += time.Duration(a.to - a.from)
	}
	t.Logf("-faults.seed %d: killed %d times, %d of them before it served, stopped %d times; absent for %s", *seed, len(m.kills), m.unready, m.stops, absent)
	t.Logf("captured: %v, beside %s", app.Good, app.tally())
	if len(m.kills) == 0 && *duration > 10*time.Second {
		t.Error("it was never killed")
	}
	complaints := 0
	complain := func(e event, why string) {
		if complaints++; complaints <= 10 {
			t.Errorf("%s: %q: %s (%d to %d)", e.client, e.what, why, e.begin, e.end)
		}
	}
	for _, e := range app.Rest {
		switch {
		case strings.HasPrefix(e.client, offloaded):
			complain(e, "the kernel was to go on by itself")
		case slices.Contains(p.without, e.what):
			if !overlaps(m.absences, e) {
				complain(e, "weir was there all the time")
			}
		case e.what == "connect ECONNREFUSED", strings.HasPrefix(e.what, "broken"), e.what == "connect ECONNRESET":
			if !overlaps(m.kills, e) {
				complain(e, "weir was not killed meanwhile")
			}
		default:
			complain(e, "this must never be seen")
		}
	}
	for n, s := range neighbours {
		t.Logf("neighbour %d: %v, beside %s", n, s.Good, s.tally())
		for _, e := range s.Rest {
			complain(e, "it is none of weir's business")
		}
		for client, n := range s.Good {
			if n < 50 {
				t.Errorf("%s: %d connections are no load", client, n)
			}
		}
	}
	if n := app.Good[real+"=weir!"]; n < 50 {
		t.Errorf("%d captured connections are no load", n)
	}
}
