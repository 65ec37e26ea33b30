package decisions

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/datagram"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/inbound"
	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// kernel is a stream that the test tells through.
type kernel struct {
	mu     sync.Mutex
	told   func(*events.Event) // nil while nobody listens
	wanted events.Wanted
	opened int
}

func (k *kernel) open(told func(*events.Event)) (Stream, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.told != nil {
		return nil, errors.New("it is open")
	}
	k.told = told
	k.opened++
	return k, nil
}

func (k *kernel) Want(w events.Wanted) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = w
	return nil
}

func (k *kernel) Lost() uint64 { return 0 }

func (k *kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told, k.wanted = nil, events.Wanted{}
	return nil
}

func (k *kernel) listening() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.told != nil
}

func event(dst string, v events.Verdict, r intercept.Reason, pid uint32) *events.Event {
	return &events.Event{
		At: time.Unix(0, 0).UTC(), Dst: netip.MustParseAddrPort(dst), Verdict: v, Code: uint8(r), Reason: r.String(), PID: pid, Command: "curl", Protocol: events.TCP,
	}
}

// asked is a datagram, and came a connection that came in.
func asked(dst string, r datagram.Reason, again bool) *events.Event {
	return &events.Event{
		Kind: events.Datagram, Dst: netip.MustParseAddrPort(dst), Verdict: events.Redirect, Code: uint8(r), Reason: r.String(), PID: 8, Command: "dig",
		Protocol: events.UDP, Listener: "dns", Again: again,
	}
}

func came(src, dst string, v events.Verdict, r inbound.Reason) *events.Event {
	return &events.Event{
		Kind: events.Arrival, Inbound: true, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Verdict: v, Code: uint8(r), Reason: r.String(),
		Protocol: events.TCP, Listener: "in", Netns: 9,
	}
}

type bed struct {
	*Hub
	kernel *kernel
	store  *stats.Store
}

// server is who listens at 10.1.1.1:443.
func server(netns uint64, at netip.AddrPort) Server {
	if netns != 9 || at != netip.MustParseAddrPort("10.1.1.1:443") {
		return Server{}
	}
	return Server{PID: 77, UID: 33, Command: "nginx"}
}

func newBed(t *testing.T, e *model.Events) *bed {
	t.Helper()
	b := &bed{kernel: &kernel{}, store: stats.NewStore()}
	b.Hub = New(NewDescriber(nil, func(cookie uint64) string { return map[uint64]string{9: "blue"}[cookie] }, server), b.store.Root().Scope("events"))
	if err := b.Attach(b.kernel.open, e); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bed) counter(name string) uint64 {
	return b.store.Root().Scope("events").Counter(name).Value()
}

// listen streams until the test ends it, and gives the lines.
func (b *bed) listen(ctx context.Context, query string) (lines chan string, done chan error) {
	lines, done = make(chan string, 10_000), make(chan error, 1)
	params, err := url.ParseQuery(query)
	if err != nil {
		panic(err)
	}
	begun := make(chan struct{})
	go func() {
		done <- b.Stream(ctx, params, func(bool) { close(begun) }, func(line []byte) error { lines <- string(line); return nil })
	}()
	<-begun
	return lines, done
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		if b.kernel.listening() {
			t.Error("the kernel is listened to for nobody")
		}
		if err := b.Stream(t.Context(), url.Values{"past": {""}, "no_follow": {""}}, nil, nil); !errors.Is(err, errNotRecorded) || b.kernel.listening() {
			t.Errorf("the past, which nobody records: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		all, allDone := b.listen(ctx, "")
		refused, refusedDone := b.listen(t.Context(), "verdict=refuse&dst=10.0.0.0/8&format=text&limit=1")
		w := b.kernel.wanted
		for kind, names := range [][]string{intercept.ReasonNames(), datagram.ReasonNames(), inbound.ReasonNames()} {
			for code, name := range names { // some are told when they are asked for
				wanted, quiet := w.Of[kind].Reasons&(1<<code) != 0, name == "not_tcp" || kind == 2 && slices.Contains([]string{"disabled", "not_captured", "own"}, name)
				if wanted == quiet {
					t.Errorf("reason %s of kind %d is wanted: %t", name, kind, wanted)
				}
			}
			if w.Of[kind].Verdicts != math.MaxUint32 {
				t.Errorf("of kind %d, %x is wanted", kind, w.Of[kind].Verdicts)
			}
		}
		if b.kernel.opened != 1 || w.Sample != 1 || w.EachDatagram {
			t.Errorf("opened %d times, wanted %+v", b.kernel.opened, w)
		}
		b.kernel.told(event("10.1.1.1:80", events.Pass, intercept.ReasonNoRule, 1))
		b.kernel.told(event("192.0.2.1:80", events.Refuse, intercept.ReasonPolicyDenied, 1))
		e := event("10.1.1.1:443", events.Refuse, intercept.ReasonPolicyDenied, 7)
		e.Listener, e.Service, e.Netns = "shop", "shop", 9
		b.kernel.told(e)
		synctest.Wait()
		if got := <-refused; got != "00:00:00.000000 refuse   tcp out curl/7 (blue) > 10.1.1.1:443: policy_denied, listener shop, service shop\n" {
			t.Errorf("line %q", got)
		}
		if err := <-refusedDone; err != nil { // there was one
			t.Error(err)
		}
		var got Event
		for range 3 {
			if err := json.Unmarshal([]byte(<-all), &got); err != nil {
				t.Fatal(err)
			}
		}
		if got.PID != 7 || got.Namespace != "blue" || got.Verdict != "refuse" || got.Destination != "10.1.1.1:443" {
			t.Errorf("event %+v", got)
		}
		cancel()
		if err := <-allDone; err != nil {
			t.Error(err)
		}
		if b.kernel.listening() {
			t.Error("the kernel is listened to after the last has gone")
		}
		if n := b.counter("emitted"); n != 4 {
			t.Errorf("%d were emitted", n)
		}
	})
}

// TestKinds streams datagrams and connections that come in, each to those who want them.
func TestKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		const dig, client = "00:00:00.000000 redirect udp out dig/8 > 192.0.2.1:53: captured, listener dns", "198.51.100.7:5000"
		readers := map[string][]string{
			"protocol=udp": {dig}, "protocol=udp&each_datagram": {dig, dig + ", again"},
			"direction=inbound": {
				"00:00:00.000000 redirect tcp in  198.51.100.7:5000 > nginx/77 (blue) 10.1.1.1:443: captured, listener in",
				"00:00:00.000000 refuse   tcp in  198.51.100.7:5000 > - (blue) 10.1.1.1:80: policy_denied, listener in",
			},
			"pid=77": {"00:00:00.000000 redirect tcp in  198.51.100.7:5000 > nginx/77 (blue) 10.1.1.1:443: captured, listener in"},
			"pid=8":  {dig}, "reason=own": {"00:00:00.000000 pass     tcp in  198.51.100.7:5000 > nginx/77 (blue) 10.1.1.1:443: own, listener in"},
		}
		lines := map[string]chan string{}
		for query := range readers {
			lines[query], _ = b.listen(t.Context(), query+"&format=text")
		}
		for _, e := range []*events.Event{
			asked("192.0.2.1:53", datagram.ReasonCaptured, false), asked("192.0.2.1:53", datagram.ReasonCaptured, true),
			came(client, "10.1.1.1:443", events.Redirect, inbound.ReasonCaptured), came(client, "10.1.1.1:443", events.Pass, inbound.ReasonOwn),
			came(client, "10.1.1.1:80", events.Refuse, inbound.ReasonPolicyDenied),
		} {
			e.At = time.Unix(0, 0).UTC()
			b.kernel.told(e)
		}
		synctest.Wait()
		for query, want := range readers {
			var got []string
			for len(lines[query]) > 0 {
				got = append(got, strings.TrimSuffix(<-lines[query], "\n"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", query, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	})
}

// TestRecorderOfKinds records what comes in, or datagrams, alone.
func TestRecorderOfKinds(t *testing.T) {
	for name, tt := range map[string]struct {
		in   model.Events
		want []string // destinations
	}{
		"inbound": {model.Events{Sample: 1, Directions: []string{"inbound"}}, []string{"10.1.1.1:443"}},
		"udp":     {model.Events{Sample: 1, Protocols: []string{"udp"}}, []string{"192.0.2.1:53"}},
		"tcp":     {model.Events{Sample: 1, Protocols: []string{"tcp"}}, []string{"10.1.1.1:80", "10.1.1.1:443"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, &tt.in)
				for _, e := range []*events.Event{
					event("10.1.1.1:80", events.Pass, intercept.ReasonNoRule, 1), asked("192.0.2.1:53", datagram.ReasonCaptured, false),
					came("198.51.100.7:5000", "10.1.1.1:443", events.Redirect, inbound.ReasonCaptured),
				} {
					b.kernel.told(e)
				}
				synctest.Wait()
				lines, done := b.listen(t.Context(), "past&no_follow")
				if err := <-done; err != nil {
					t.Error(err)
				}
				var got []string
				for len(lines) > 0 {
					var e Event
					if err := json.Unmarshal([]byte(<-lines), &e); err != nil {
						t.Fatal(err)
					}
					got = append(got, e.Destination)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("recorded %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// A reader that stands still loses events, and is told how many.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		gate, begun := make(chan struct{}), make(chan struct{})
		var lines []string
		done := make(chan error, 1)
		go func() {
			done <- b.Stream(t.Context(), url.Values{"limit": {"4000"}}, func(bool) { close(begun) }, func(line []byte) error {
				<-gate
				lines = append(lines, string(line))
				return nil
			})
		}()
		<-begun
		for range room + 101 {
			b.kernel.told(event("10.1.1.1:80", events.Pass, intercept.ReasonNoRule, 1))
			synctest.Wait()
		}
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := b.counter("dropped"); n != 100 || lines[1] != "{\"lost\":100}\n" {
			t.Errorf("%d were dropped; the second line is %s", n, lines[1])
		}
	})
}

func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, &model.Events{Sample: 1, Verdicts: []string{"pass"}, Keep: 3})
		if !b.kernel.listening() || b.kernel.wanted.Of[events.Connect].Verdicts != 1 {
			t.Errorf("wanted %+v", b.kernel.wanted)
		}
		for pid := range uint32(5) {
			b.kernel.told(event("10.1.1.1:80", events.Pass, intercept.ReasonNoRule, pid+1))
			synctest.Wait()
		}
		for query, want := range map[string]string{"past&limit=3": "345", "past&limit=1&pid=4": "4", "past&no_follow": "345", "past&no_follow&limit=2": "34", "no_follow": ""} {
			lines, done := b.listen(t.Context(), query)
			if err := <-done; err != nil {
				t.Error(err)
			}
			got := ""
			for range len(want) {
				var e Event
				if err := json.Unmarshal([]byte(<-lines), &e); err != nil {
					t.Fatal(err)
				}
				got += string(rune('0' + e.PID))
			}
			if got != want || len(lines) > 0 {
				t.Errorf("%s: processes %s and %d more, want %s", query, got, len(lines), want)
			}
		}
		_, done := b.listen(t.Context(), "")
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := b.Stream(t.Context(), nil, nil, nil); !errors.Is(err, errOff) {
			t.Errorf("a closed hub streams: %v", err)
		}
	})
}

func TestParseQuestion(t *testing.T) {
	for query, want := range map[string]string{
		"verdict=drop": `verdict: "drop" is none of pass`, "reason=none": `reason: "none" is none of not_tcp`, "pid=0": "pid: ", "pid=x": "pid: ",
		"container=": "container: ", "container=[": "container: ", "cgroup=[": "cgroup: ", "dst=here": "dst: ", "dst=:0": "dst: ", "sample=0": "sample: ",
		"sample=1.1": "sample: ", "sample=NaN": "sample: ", "limit=0": "limit: ", "limit=-1": "limit: ", "format=xml": "format: ", "direction=up": `direction: "up" is none of outbound, inbound`,
		"protocol=sctp": `protocol: "sctp" is none of tcp, udp, other`, "reason=answered": `reason: "answered" is none of `, "what=1": "what: there is no",
		"direction=inbound&protocol=udp": "nothing matches", "protocol=other": "nothing matches", "reason=refuse_rule&protocol=tcp": "nothing matches",
	} {
		params, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseQuestion(params); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

func TestFilter(t *testing.T) {
	k := event("10.1.1.1:80", events.Pass, intercept.ReasonNoRule, 7)
	e := &Event{PID: 7, Container: "fade01234567", Cgroup: "/system.slice/docker-fade.scope", kernel: k}
	for query, want := range map[string]bool{
		"": true, "verdict=pass": true, "verdict=refuse": false, "verdict=refuse,pass": true, "reason=no_rule": true, "reason=captured": false,
		"pid=7": true, "pid=8": false, "pid=8&pid=7": true, "container=fade": true, "container=*567": true, "container=beef": false,
		"cgroup=system.slice": true, "cgroup=**/docker-*": true, "cgroup=user.slice": false, "dst=10.1.1.1": true, "dst=10.0.0.0/8": true,
		"dst=10.1.1.1:80": true, "dst=10.1.1.1:81": false, "dst=:80": true, "dst=:81": false, "dst=::ffff:10.1.1.1": true, "dst=:80&pid=8": false,
	} {
		params, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := parseQuestion(params)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if got := q.filter.takes(k) && q.filter.matches(e); got != want {
			t.Errorf("%s: %t", query, got)
		}
	}
}

// What a configuration may name is what the kernel has.
func TestReasonsOfConfigurations(t *testing.T) {
	if _, err := filterOf(&model.Events{Sample: 1, Verdicts: events.Verdicts(), Reasons: reasonNames(), Destinations: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}); err != nil {
		t.Error(err)
	}
	for n, name := range events.Verdicts() {
		if intercept.Action(n).String() != name {
			t.Errorf("verdict %d is %s here, %s in the kernel", n, name, intercept.Action(n))
		}
	}
}

func FuzzParseQuestion(f *testing.F) {
	for _, query := range []string{"verdict=pass&dst=:80", "reason=a,b", "sample=1e-9", "limit=9", "cgroup=**", "direction=inbound&protocol=udp"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		params, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if q, err := parseQuestion(params); err == nil && (q.filter.wanted.Of == [events.Kinds]events.Want{} || q.filter.wanted.Sample <= 0) {
			t.Errorf("%s: %+v", query, q.filter)
		}
	})
}
