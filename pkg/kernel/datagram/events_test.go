package datagram

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// listen begins to be told, on a ring that the bench's programs tell through.
func (b *bench) listen() (*events.Listener, <-chan *events.Event) {
	b.t.Helper()
	ring, err := events.New()
	if err != nil {
		b.t.Fatal(err)
	}
	b.opts.Ring = ring
	told := make(chan *events.Event, 1000)
	l, err := ring.Listen(func(e *events.Event) { told <- e })
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := errors.Join(l.Close(), ring.Close()); err != nil {
			b.t.Error(err)
		}
	})
	return l, told
}

// want waits for events, as "VERDICT REASON DESTINATION", and sees that there are no more of them.
func (b *bench) want(told <-chan *events.Event, want ...string) (last *events.Event) {
	b.t.Helper()
	for _, text := range want {
		select {
		case last = <-told:
			if got := fmt.Sprintf("%s %s %s", last.Verdict, last.Reason, last.Dst); got != text {
				b.t.Errorf("told %q, want %q", got, text)
			}
		case <-time.After(10 * time.Second):
			b.t.Fatalf("not told %q", text)
		}
	}
	return last
}

// TestEvents is told of connect() and of the first datagram of each exchange, and of no others.
func TestEvents(t *testing.T) {
	b := newBench(t)
	l, told := b.listen()
	if err := l.Want(events.Everything()); err != nil {
		t.Fatal(err)
	}
	b.apply(nil, rule("192.0.2.0/24", 53, steer.Redirect), rule("192.0.2.0/24", 443, steer.Refuse), rule("2001:db8::/32", 53, steer.Redirect), rule("127.0.0.9/32", 0, steer.Pass))
	const program = `
s = new(V4)
for _ in range(3):
    s.sendto(b"x", ("192.0.2.1", 53))
for _ in range(2):
    err(s.sendto, b"x", ("192.0.2.1", 443))
s.sendto(b"x", ("127.0.0.9", 9))
s.sendto(b"x", ("127.0.0.10", 9))
s.sendto(b"x", ("192.0.2.1", 53))
c = new(V4); c.connect(("192.0.2.1", 53)); c.send(b"x"); c.send(b"x")
m = new(V6); m.sendto(b"x", ("::ffff:192.0.2.1", 53)); m.sendto(b"x", ("2001:db8::1", 53)); m.sendto(b"x", ("2001:db8::1", 53))
`
	all := []string{
		"redirect captured 192.0.2.1:53", "refuse refuse_rule 192.0.2.1:443", "pass pass_rule 127.0.0.9:9", "pass no_rule 127.0.0.10:9",
		"redirect captured 192.0.2.1:53", "redirect captured 192.0.2.1:53", "redirect captured [2001:db8::1]:53",
	}
	b.python(program, true)
	e := b.want(told, all...)
	if e.Kind != events.Datagram || e.Inbound || e.Protocol != events.UDP || e.Listener != "l" || e.Rule != 3 || e.PID == 0 || e.UID != uint32(os.Getuid()) ||
		e.Cgroup == 0 || e.Cookie == 0 || e.Netns == 0 || e.Src.IsValid() || time.Since(e.At).Abs() > time.Minute || e.Again || !strings.HasPrefix(e.Command, "python") {
		t.Errorf("event %+v", e)
	}
	b.python(`new(V4).sendto(b"x", ("127.0.0.9", 9))`, false) // nobody's concern
	some := events.Wanted{Sample: 1, EachDatagram: true}
	some.Of[events.Datagram] = events.Want{Verdicts: 1 << events.Refuse, Reasons: math.MaxUint64}
	if err := l.Want(some); err != nil {
		t.Fatal(err)
	}
	b.python(program, true)
	if again := b.want(told, all[1], all[1]); !again.Again {
		t.Errorf("event %+v is the second of its exchange", again)
	}
	// Another verdict is told of although the exchange is not new.
	some.EachDatagram, some.Of[events.Datagram].Verdicts = false, math.MaxUint32
	if err := l.Want(some); err != nil {
		t.Fatal(err)
	}
	b.python(`s = new(V4, 0x1235); err(s.sendto, b"x", ("192.0.2.1", 53)); s.setsockopt(socket.SOL_SOCKET, 36, 1); s.sendto(b"x", ("192.0.2.1", 53)); s.sendto(b"x", ("192.0.2.1", 53))`, true)
	b.want(told, "pass proxy_mark 192.0.2.1:53", all[0])
	if err := l.Want(events.Wanted{}); err != nil {
		t.Fatal(err)
	}
	b.python(program, true)
	if n := len(told); n > 0 || l.Lost() > 0 {
		t.Errorf("%d more are told of, the first is %+v; %d are lost", n, <-told, l.Lost())
	}
}

// TestEventsAgreeWithExplain takes the same decisions by datagrams, by connect(), and by questions.
func TestEventsAgreeWithExplain(t *testing.T) {
	for name, change := range map[string]func(*steer.Plan){
		"open": nil, "closed": func(p *steer.Plan) { p.FailClosed = true },
		"excluded": func(p *steer.Plan) { p.Excludes = []steer.Rule{rule("192.0.2.2/32", 0, steer.Pass)} },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			l, told := b.listen()
			if err := l.Want(events.Everything()); err != nil {
				t.Fatal(err)
			}
			b.apply(change, rule("192.0.2.0/24", 53, steer.Redirect), rule("192.0.2.0/24", 443, steer.Refuse), rule("127.0.0.9/32", 0, steer.Pass), rule("2001:db8::/32", 0, steer.Redirect))
			b.compare(told)
			b.ClearCapture(b.opts.Netns) // and what should be captured cannot be any more
			b.compare(told)
		})
	}
}

// compare sends and connects to destinations, and asks about them.
func (b *bench) compare(told <-chan *events.Event) {
	b.t.Helper()
	var program strings.Builder
	var want []string
	for _, dst := range []string{"192.0.2.1:53", "192.0.2.1:443", "192.0.2.2:53", "127.0.0.9:9", "127.0.0.1:9", "[2001:db8::1]:53", "[::1]:9"} {
		at := netip.MustParseAddrPort(dst)
		for _, mark := range []uint32{0, testMark} {
			x, err := b.Explain(Query{Dst: at, Mark: mark})
			if err != nil {
				b.t.Fatal(err)
			}
			listener := ""
			if x.Rule != nil {
				listener = x.Rule.Listener
			}
			text := fmt.Sprintf("%s %s %s %s", events.Verdict(x.Action), x.Reason, dst, listener)
			want = append(want, text, text)
			fmt.Fprintf(&program, "f = %s; a = (%q, %d)\nerr(new(f, %d).sendto, b'x', a); err(new(f, %[4]d).connect, a)\n",
				map[bool]string{true: "V4", false: "V6"}[at.Addr().Is4()], at.Addr(), at.Port(), mark)
		}
	}
	b.python(program.String(), true)
	for _, text := range want {
		select {
		case e := <-told:
			if got := fmt.Sprintf("%s %s %s %s", e.Verdict, e.Reason, e.Dst, e.Listener); got != text {
				b.t.Errorf("told %q, explained %q", got, text)
			}
		case <-time.After(10 * time.Second):
			b.t.Fatalf("not told %q", text)
		}
	}
}
