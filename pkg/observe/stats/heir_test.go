package stats

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pair is the store of an older process and the one of a newer, which inherits.
type pair struct {
	older, newer *Store
	giver        *Giver
	heir         *Heir
}

func newPair() *pair {
	p := &pair{older: NewStore(), newer: NewStore()}
	p.giver, p.heir = p.older.Giver(), p.newer.Heir()
	return p
}

// round tells the newer one, and gives how many changes there were.
func (p *pair) round(t *testing.T, take, settled bool) (n int) {
	t.Helper()
	err := p.giver.Round(take, func(c *Change) error {
		n++
		if c.Kind == CounterKind {
			p.heir.Counter(c.Prefix+c.Name, c.Value, c.Unshipped)
		} else {
			p.heir.Gauge(c.Prefix+c.Name, c.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.heir.Settle(settled)
	return n
}

// values are the counters and gauges as listings show them, and the deltas of counters after a slash.
func values(s *Store) map[string]string {
	s.LatchCounters()
	out := make(map[string]string)
	s.Each(These(CounterKind, GaugeKind), func(x *Series) bool {
		text := fmt.Sprint(x.Value())
		if x.Kind() == CounterKind {
			text += fmt.Sprintf("/%d", x.Delta())
		}
		out[string(x.Name())] = text
		return true
	})
	return out
}

func (p *pair) want(t *testing.T, what string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, values(p.newer)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

type inheritable struct {
	total  *Counter
	active *Gauge
}

var inheritableLayout = NewLayout(func(f *Fields, t *inheritable) {
	f.Counter("cx_total", &t.total)
	f.Gauge("cx_active", &t.active)
})

// TestHeirOverAnUpgrade follows the counters and gauges of a cluster through the life of two processes.
func TestHeirOverAnUpgrade(t *testing.T) {
	p := newPair()
	var was, is inheritable
	inheritableLayout.Fill(p.older.Root().Scope("cluster.web"), &was)
	was.total.Add(10)
	p.older.LatchCounters() // shipped
	was.total.Add(5)
	was.active.Set(3)
	p.older.Root().Counter("cluster.web.rq_404").Add(2)
	p.older.Root().Counter("never")

	// The newer one has no clusters yet, and the older one goes on to ship.
	if n := p.round(t, false, false); n != 3 {
		t.Errorf("%d changes in the first round, want 3", n)
	}
	p.want(t, "without clusters", map[string]string{})
	inheritableLayout.Fill(p.newer.Root().Scope("cluster.web"), &is)
	is.total.Add(1)
	is.active.Inc()
	if n := p.round(t, false, false); n != 0 {
		t.Errorf("%d changes in a round without any", n)
	}
	p.want(t, "before it serves", map[string]string{"cluster.web.cx_total": "16/1", "cluster.web.cx_active": "4"})

	// From here on the newer one ships, what the older one has not shipped included.
	was.total.Add(1)
	was.active.Set(1)
	p.round(t, true, true)
	p.want(t, "while both serve", map[string]string{"cluster.web.cx_total": "17/6", "cluster.web.cx_active": "2", "cluster.web.rq_404": "2/2"})
	was.total.Add(1)
	p.round(t, true, true)
	p.want(t, "after another round", map[string]string{"cluster.web.cx_total": "18/1", "cluster.web.cx_active": "2", "cluster.web.rq_404": "2/0"})
	if got := values(p.older); got["cluster.web.cx_total"] != "17/0" {
		t.Errorf("the older one would ship %s", got["cluster.web.cx_total"])
	}

	p.newer.ResetCounters()
	is.total.Add(4)
	p.heir.Close()
	p.want(t, "after the end of the older one", map[string]string{"cluster.web.cx_total": "4/4", "cluster.web.cx_active": "1", "cluster.web.rq_404": "0/0"})
}

// TestHeirOfGaugesThatAreSet has the newer one set a gauge, which leaves the share of the older one alone, and make one anew.
func TestHeirOfGaugesThatAreSet(t *testing.T) {
	p := newPair()
	p.older.Root().Gauge("level").Set(7)
	sc := p.newer.Root().Scope("")
	sc.Gauge("level").Set(1)
	p.round(t, true, true)
	sc.Gauge("level").Set(2)
	p.want(t, "set", map[string]string{"level": "9"})
	sc.Close()
	p.newer.Root().Gauge("level").Set(1)
	p.round(t, true, true)
	p.want(t, "made anew", map[string]string{"level": "8"})
	p.older.Root().Gauge("level").Set(0)
	p.round(t, true, true)
	p.want(t, "at 0", map[string]string{"level": "1"})
}

// TestHeirHoldsSoManyNames bounds what the older process may leave of names that the newer one has not.
func TestHeirHoldsSoManyNames(t *testing.T) {
	p := newPair()
	for i := range 3 * maxHeld / 2 {
		p.older.Root().Scope(fmt.Sprintf("s%d", i)).Counter("total").Inc()
	}
	p.round(t, true, true)
	if got := len(values(p.newer)); got != maxHeld {
		t.Errorf("%d names are shown, want %d", got, maxHeld)
	}
	if lost := p.heir.Settle(true); lost != maxHeld/2 {
		t.Errorf("%d names are lost, want %d", lost, maxHeld/2)
	}
}

// BenchmarkRound is a round of 200,000 series of which none has changed.
func BenchmarkRound(b *testing.B) {
	s := NewStore()
	for i := range 100_000 {
		var x inheritable
		inheritableLayout.Fill(s.Root().Scope(fmt.Sprintf("cluster.c%d", i)), &x)
		x.total.Inc()
		x.active.Inc()
	}
	g := s.Giver()
	for b.Loop() {
		if err := g.Round(true, func(*Change) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
