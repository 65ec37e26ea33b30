package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weir-proxy/weir/test/await"
)

// rounds gives, in each round, what it is fed.
type rounds struct {
	next  chan []Series
	count uint64
}

func (r *rounds) Round(give func(*Series) error) (Summary, error) {
	r.count++
	for _, s := range <-r.next {
		if err := give(&s); err != nil {
			return Summary{}, err
		}
	}
	return Summary{Connections: r.count, Memory: 1 << 20}, nil
}

// heir notes what it is told.
type heir struct {
	series  []Series
	summary Summary
	rounds  chan struct{}
	ended   chan error
}

func newHeir() *heir { return &heir{rounds: make(chan struct{}, 8), ended: make(chan error, 1)} }

func (h *heir) Series(s *Series) { h.series = append(h.series, *s) }
func (h *heir) Round(s Summary)  { h.summary = s; h.rounds <- struct{}{} }
func (h *heir) End(err error)    { h.ended <- err }

func (h *heir) wantEnd(t *testing.T, want string) {
	t.Helper()
	select {
	case err := <-h.ended:
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ended with %v, want %q", err, want)
		}
	case <-time.After(await.Patience):
		t.Error("the end was not told")
	}
}

// listen serves an older process, begin and feed are a newer one.
func listen(t *testing.T, r Rounds) (*Server, string) {
	t.Helper()
	name := "@weir-handover-" + t.Name()
	s, err := Listen(name, 0, &older{rounds: r, calls: make(chan string, 16)}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, name
}

func feed(t *testing.T, name string, h Heir) (*Predecessor, *Feed) {
	t.Helper()
	p, err := Begin(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	f, err := p.Statistics(t.Context(), h)
	if err != nil || f == nil {
		t.Fatal(f, err)
	}
	t.Cleanup(f.Close)
	return p, f
}

// TestStatisticsOutliveTheHandover asks for statistics before and after the newer process serves, and has the older one tell the rest when
// it ends.
func TestStatisticsOutliveTheHandover(t *testing.T) {
	r, h := &rounds{next: make(chan []Series, 3)}, newHeir()
	s, name := listen(t, r)
	p, f := feed(t, name, h)
	if o := p.Origin(); o.Generation != 3 || o.Start.Unix() != 1700000000 {
		t.Errorf("origin %+v", o)
	}
	var want []Series
	for i := range 3000 { // more than a message holds
		want = append(want, Series{Counter: i%2 == 0, Name: fmt.Sprintf("cluster.c%d.upstream_rq_total", i), Value: uint64(i) << (i % 40)})
	}
	r.next <- want
	if f.Ask(await.Patience) {
		t.Error("the first round is late")
	}
	<-h.rounds
	if diff := cmp.Diff(want, h.series); diff != "" || h.summary != (Summary{1, 1 << 20}) {
		t.Errorf("summary %v, series (-want +got):\n%s", h.summary, diff)
	}
	if err := p.Sockets(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Done(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	h.series = nil
	r.next <- []Series{{Counter: true, Name: "a", Value: 1, Unshipped: 7}, {Name: strings.Repeat("x", maxName+1), Value: 1}, {Name: "ab"}}
	f.Ask(await.Patience)
	<-h.rounds
	r.next <- []Series{{Name: "last", Value: 2}}
	if !s.Last() {
		t.Error("the rest was not taken")
	}
	h.wantEnd(t, "")
	if diff := cmp.Diff([]Series{{Counter: true, Name: "a", Value: 1, Unshipped: 7}, {Name: "ab"}, {Name: "last", Value: 2}}, h.series); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	if s.Last() || f.Ask(time.Minute) {
		t.Error("something goes on after the end")
	}
}

// slowHeir takes nothing before it may.
type slowHeir struct {
	*heir
	may   chan struct{}
	taken atomic.Int64
}

func (h *slowHeir) Series(*Series) {
	<-h.may
	h.taken.Add(1)
}

// TestLastWords has the newer process ask when the older one has ended, and its last words have not been read: with a question that it
// did not read either, or without.
func TestLastWords(t *testing.T) {
	for name, asked := range map[string]bool{"all questions read": false, "a question left": true} {
		t.Run(name, func(t *testing.T) {
			ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			var conns [2]*net.UnixConn
			for i, fd := range ends {
				file := os.NewFile(uintptr(fd), "statistics")
				conn, err := net.FileConn(file)
				file.Close()
				if err != nil {
					t.Fatal(err)
				}
				conns[i] = conn.(*net.UnixConn)
			}
			f, h := &Feed{conn: conns[0], gone: make(chan struct{})}, &slowHeir{heir: newHeir(), may: make(chan struct{})}
			if asked {
				f.Ask(0)
			}
			g := &giving{conn: conns[1], rounds: &rounds{next: make(chan []Series, 1)}}
			g.rounds.(*rounds).next <- []Series{{Counter: true, Name: "a", Value: 1}, {Counter: true, Name: "b", Value: 1}}
			if !g.last() {
				t.Fatal("the last words were not sent")
			}
			f.done.Go(func() { f.run(h) })
			t.Cleanup(f.Close)
			time.AfterFunc(20*time.Millisecond, func() { close(h.may) })
			if f.Ask(await.Patience); h.taken.Load() != 2 {
				t.Errorf("%d of 2 series when the question is answered", h.taken.Load())
			}
			h.wantEnd(t, "")
		})
	}
}

// TestNewerProcessEnds leaves the statistics to the older one.
func TestNewerProcessEnds(t *testing.T) {
	r, h := &rounds{next: make(chan []Series, 3)}, newHeir()
	s, name := listen(t, r)
	p, f := feed(t, name, h)
	f.Close()
	h.wantEnd(t, "")
	r.next <- []Series{{Name: "a", Value: 1}}
	if s.Last() {
		t.Error("a process that has ended takes statistics")
	}
	p.Close()
	// Another one can follow.
	h = newHeir()
	_, f = feed(t, name, h)
	r.next <- []Series{{Name: "b", Value: 1}}
	if f.Ask(await.Patience) || len(h.series) != 1 {
		t.Errorf("the next one gets %v", h.series)
	}
}

// TestLateStatistics waits for an older process that is stuck once, and takes its answer when it comes.
func TestLateStatistics(t *testing.T) {
	r, h := &rounds{next: make(chan []Series, 1)}, newHeir()
	_, name := listen(t, r)
	_, f := feed(t, name, h)
	if !f.Ask(time.Millisecond) {
		t.Error("a round that does not end is not late")
	}
	begin := time.Now()
	if !f.Ask(time.Minute) || time.Since(begin) > 10*time.Second {
		t.Error("it is waited for again")
	}
	r.next <- []Series{{Name: "a", Value: 1}}
	<-h.rounds
	r.next <- nil
	for f.Ask(await.Patience) { // it has been answered a moment ago
	}
}

// TestEarlierVersion has a weir that knows nothing of statistics before this one.
func TestEarlierVersion(t *testing.T) {
	name := "@weir-handover-" + t.Name()
	ln, err := net.ListenUnix("unixpacket", address(name))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var asked atomic.Int64
	go func() {
		conn, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			if _, _, err := receive(conn); err != nil {
				return
			}
			asked.Add(1)
			if _, err := conn.Write([]byte(`{"protocol":1,"verb":"ok"}`)); err != nil {
				return
			}
		}
	}()
	p, err := Begin(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f, err := p.Statistics(t.Context(), newHeir())
	if f != nil || err != nil || !p.Origin().Start.IsZero() {
		t.Errorf("%v, %v, origin %+v", f, err, p.Origin())
	}
	f.Close()
	if f.Ask(time.Second) {
		t.Error("nobody is late")
	}
	if err := p.Done(t.Context(), time.Second); err != nil || asked.Load() != 2 {
		t.Errorf("%d questions, %v", asked.Load(), err)
	}
}

// TestStatisticsOfAnotherForm ends the channel, not the process.
func TestStatisticsOfAnotherForm(t *testing.T) {
	for name, tt := range map[string]struct{ sent, want string }{
		"no JSON": {"x", "decode message"},
		"verb":    {`{"protocol":1,"verb":"done"}`, "sent done among statistics"},
		"series":  {`{"protocol":1,"verb":"series","data":"BAAA"}`, "decode series"},
	} {
		t.Run(name, func(t *testing.T) {
			s, at := listen(t, &rounds{})
			h := newHeir()
			feed(t, at, h)
			s.mu.Lock()
			_, err := s.giving.conn.Write([]byte(tt.sent))
			s.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			h.wantEnd(t, tt.want)
		})
	}
}

func FuzzReadBatch(f *testing.F) {
	var b batch
	b.add(&Series{Counter: true, Name: "cluster.a.total", Value: 1, Unshipped: 300})
	b.add(&Series{Name: "cluster.a.active", Value: 1 << 60})
	f.Add(b.data)
	f.Add([]byte{1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var all []Series
		if err := readBatch(data, func(s *Series) { all = append(all, *s) }); err != nil {
			return
		}
		var again batch
		for i := range all {
			again.add(&all[i])
		}
		var back []Series
		if err := readBatch(again.data, func(s *Series) { back = append(back, *s) }); err != nil || !cmp.Equal(all, back) {
			t.Errorf("%v: %v became %v", err, all, back)
		}
	})
}

var errStopped = errors.New("stopped")

// failing breaks a round off.
type failing struct{}

func (failing) Round(func(*Series) error) (Summary, error) { return Summary{}, errStopped }

func TestRoundFails(t *testing.T) {
	h := newHeir()
	_, name := listen(t, failing{})
	_, f := feed(t, name, h)
	f.Ask(await.Patience)
	h.wantEnd(t, "")
}
