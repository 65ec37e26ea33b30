package dns

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// records makes what a server answers: an address or alias for each, with its TTL.
func records(name dnsmessage.Name, list ...any) []dnsmessage.Resource {
	var out []dnsmessage.Resource
	for i := 0; i < len(list); i += 2 {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: uint32(list[i+1].(int))}}
		switch to := list[i].(string); {
		case to[len(to)-1] == '.':
			r.Body, r.Header.Type = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(to)}, dnsmessage.TypeCNAME
			name = dnsmessage.MustNewName(to)
		case netip.MustParseAddr(to).Is4():
			r.Body, r.Header.Type = &dnsmessage.AResource{A: netip.MustParseAddr(to).As4()}, dnsmessage.TypeA
		default:
			r.Body, r.Header.Type = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(to).As16()}, dnsmessage.TypeAAAA
		}
		out = append(out, r)
	}
	return out
}

func TestLookupTTL(t *testing.T) {
	type byType map[dnsmessage.Type][]any
	const a, aaaa = dnsmessage.TypeA, dnsmessage.TypeAAAA
	for _, tt := range []struct {
		name    string
		family  model.DNSFamily
		answers byType
		edit    func(network string, m *dnsmessage.Message)
		tcp     bool
		want    time.Duration
		addrs   int
	}{
		{name: "one address", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 60}}, want: time.Minute, addrs: 1},
		{name: "over tcp", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 61}}, tcp: true, want: 61 * time.Second, addrs: 1},
		{name: "the shortest of several", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 60, "10.0.0.2", 7, "10.0.0.3", 8}}, want: 7 * time.Second, addrs: 3},
		{name: "an alias is shorter", family: model.DNSV4Only, answers: byType{a: {"alias.test.", 3, "10.0.0.1", 60}}, want: 3 * time.Second, addrs: 1},
		{name: "zero", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 0}}, addrs: 1},
		{name: "too many bits are zero", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 1 << 31}}, addrs: 1},
		{name: "the most there may be", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 1<<31 - 1}}, want: (1<<31 - 1) * time.Second, addrs: 1},
		{name: "both families", family: model.DNSAll, answers: byType{a: {"10.0.0.1", 60}, aaaa: {"fd00::1", 5}}, want: 5 * time.Second, addrs: 2},
		{name: "the family that counts", family: model.DNSV4Preferred, answers: byType{a: {"10.0.0.1", 60}, aaaa: {"fd00::1", 5}}, want: time.Minute, addrs: 1},
		{name: "the family that is left", family: model.DNSAuto, answers: byType{a: {"10.0.0.1", 60}, aaaa: {"alias.test.", 1}}, want: time.Minute, addrs: 1},
		{name: "no address", family: model.DNSV4Only, answers: byType{a: {"alias.test.", 1}}},
		{name: "truncated", family: model.DNSV4Only, answers: byType{a: {"10.0.0.1", 60}}, edit: func(network string, m *dnsmessage.Message) {
			if network == "udp" {
				m.Truncated, m.Answers[0].Header.TTL = true, 1
			}
		}, want: time.Minute, addrs: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, [4]byte{}, func(network string, m *dnsmessage.Message) {
				m.Answers = records(m.Questions[0].Name, tt.answers[m.Questions[0].Type]...)
				if tt.edit != nil {
					tt.edit(network, m)
				}
			})
			for name, o := range map[string]model.DNS{"as configured": {TCP: tt.tcp}, "without search": {TCP: tt.tcp, NoSearch: true}} {
				o.Servers = []netip.AddrPort{s.addr}
				addrs, ttl, err := asker(New(&o, System()), true).family(t.Context(), tt.family, "host.test")
				if err != nil && tt.addrs > 0 || ttl != tt.want || len(addrs) != tt.addrs {
					t.Errorf("%s: %v for %v, %v; want %d addresses for %v", name, addrs, ttl, err, tt.addrs, tt.want)
				}
			}
		})
	}
}

func TestNoTTL(t *testing.T) {
	addrs, ttl, err := asker(System(), true).family(t.Context(), model.DNSV4Preferred, "localhost")
	if err != nil || len(addrs) != 1 || ttl != 0 {
		t.Errorf("localhost of /etc/hosts: %v for %v, %v", addrs, ttl, err)
	}
	f := &fake{}
	f.set("ip4 web.", nil, "10.0.0.1")
	addrs, ttl, err = asker(absolute{f}, true).family(t.Context(), model.DNSV4Only, "web")
	if err != nil || len(addrs) != 1 || ttl != 0 {
		t.Errorf("a resolver that knows none: %v for %v, %v", addrs, ttl, err)
	}
}

// What does not answer the question counts as little here as for the resolver.
func TestForgedAnswers(t *testing.T) {
	question := dnsmessage.Question{Name: dnsmessage.MustNewName("host.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	message := func(change func(m *dnsmessage.Message)) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{question}}
		change(&m)
		out, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		change func(m *dnsmessage.Message)
		want   time.Duration
	}{
		{"true", func(*dnsmessage.Message) {}, 5 * time.Second},
		{"in other letters", func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("HOST.test.") }, 5 * time.Second},
		{"another ID", func(m *dnsmessage.Message) { m.ID = 8 }, 0},
		{"another name", func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("other.test.") }, 0},
		{"another type", func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeAAAA }, 0},
		{"no response", func(m *dnsmessage.Message) { m.Response = false }, 0},
		{"no question", func(m *dnsmessage.Message) { m.Questions = nil }, 0},
		{"a failure", func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w witness
			e := exchange{witness: &w}
			answer := message(func(m *dnsmessage.Message) {
				m.Response, m.Answers = true, records(question.Name, "10.0.0.1", 5)
				m.Questions = []dnsmessage.Question{question}
				tt.change(m)
			})
			e.answer(answer)
			if w.ttl() != 0 {
				t.Error("seen before it was asked for")
			}
			e.ask(message(func(*dnsmessage.Message) {}))
			if e.answer(answer); w.ttl() != tt.want {
				t.Errorf("TTL %v, want %v", w.ttl(), tt.want)
			}
		})
	}
}

func FuzzAnswerTTL(f *testing.F) {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers: records(dnsmessage.MustNewName("a.test."), "b.test.", 9, "10.0.0.1", 1),
	}
	seed, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		if ttl, ok := answerTTL(b); ok && ttl >= 1<<31 {
			t.Errorf("TTL %d", ttl)
		}
		e := exchange{witness: new(witness)}
		e.ask(b)
		e.answer(b)
	})
}

// timed answers with a TTL.
type timed struct {
	fake
	ttl atomic.Int64
}

func (f *timed) LookupTTL(ctx context.Context, network, name string) ([]netip.Addr, time.Duration, error) {
	addrs, err := f.LookupNetIP(ctx, network, name)
	return addrs, time.Duration(f.ttl.Load()), err
}

func TestWaitForTTL(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ttl    time.Duration
		cfg    Config
		within [2]time.Duration // of two lookups
	}{
		{"the TTL", 7 * time.Second, Config{RespectTTL: true}, [2]time.Duration{7 * time.Second, 7 * time.Second}},
		{"longer than the rate", time.Hour, Config{RespectTTL: true}, [2]time.Duration{time.Hour, time.Hour}},
		{"none", 0, Config{RespectTTL: true, Refresh: time.Minute}, [2]time.Duration{time.Minute, time.Minute}},
		{"not to be respected", 7 * time.Second, Config{Refresh: time.Minute, MinRefresh: time.Hour}, [2]time.Duration{time.Minute, time.Minute}},
		{"too short", time.Second, Config{RespectTTL: true, MinRefresh: 20 * time.Second}, [2]time.Duration{20 * time.Second, 20 * time.Second}},
		{"none and a least", 0, Config{RespectTTL: true, Refresh: time.Second, MinRefresh: time.Hour}, [2]time.Duration{time.Second, time.Second}},
		{"jitter", time.Minute, Config{RespectTTL: true, Jitter: 10 * time.Second}, [2]time.Duration{time.Minute, 70 * time.Second}},
		{"jitter beyond all bounds", time.Minute, Config{RespectTTL: true, Jitter: 1<<63 - 1}, [2]time.Duration{time.Minute, 1<<63 - 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &Watch{cfg: tt.cfg}
			if w.cfg.Refresh == 0 {
				w.cfg.Refresh = 5 * time.Second
			}
			ttl := tt.ttl
			if !tt.cfg.RespectTTL {
				ttl = 0
			}
			for range 100 {
				if got := w.wait(0, ttl); got < tt.within[0] || got > tt.within[1] {
					t.Fatalf("waits for %v, want %v", got, tt.within)
				}
			}
		})
	}
}

// times is how often a resolver was asked.
func (f *timed) times() int {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func TestWatchAsksByTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &timed{}
		f.ttl.Store(int64(7 * time.Second))
		f.set("ip4 web", nil, "10.0.0.1")
		w, updates, first, _ := watch(f, Config{Names: []string{"web"}, Family: model.DNSV4Only, RespectTTL: true, FailureRefresh: time.Second, FailureMax: time.Second})
		defer w.Close()
		<-first
		start := time.Now()
		<-updates
		f.ttl.Store(int64(time.Minute))
		<-updates
		if d := time.Since(start); d != 7*time.Second {
			t.Errorf("asked again after %v, want 7 s", d)
		}
		f.set("", context.DeadlineExceeded)
		time.Sleep(59 * time.Second)
		if n := f.times(); n != 2 {
			t.Errorf("%d lookups while the answer is good, want 2", n)
		}
		time.Sleep(4 * time.Second)
		if n := f.times(); n < 4 {
			t.Errorf("%d lookups after failures, want to ask again soon", n)
		}
	})
}

func TestWatchKeepsItsRateWithoutRespect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &timed{}
		f.ttl.Store(int64(time.Hour))
		f.set("ip4 web", nil, "10.0.0.1")
		w, _, first, _ := watch(f, Config{Names: []string{"web"}, Family: model.DNSV4Only})
		defer w.Close()
		<-first
		time.Sleep(11 * time.Second)
		if n := f.times(); n != 3 {
			t.Errorf("%d lookups in 11 s although the TTL does not count, want 3", n)
		}
	})
}
