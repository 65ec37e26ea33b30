package dnsfilter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/log"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// names are what another server knows: "ip4 NAME." and "ip6 NAME.". A lookup of slow. blocks until it is given up; that of broken.
// fails until it was tried so often.
type names struct {
	known map[string]string

	mu     sync.Mutex
	asked  []string
	broken int
}

func (n *names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	n.asked = append(n.asked, network+" "+host)
	failing := host == "broken." && n.broken > 0
	if failing {
		n.broken--
	}
	n.mu.Unlock()
	switch a := n.known[network+" "+host]; {
	case host == "slow.":
		<-ctx.Done()
		return nil, ctx.Err()
	case failing:
		return nil, errors.New("refused")
	case a != "":
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// bed is a listener in front of the filter.
type bed struct {
	t     testing.TB
	store *stats.Store
	udp   *udp.Manager
	addr  netip.AddrPort

	mu   sync.Mutex
	logs []string
	// logging is called when an entry is about to be written; it may be nil.
	logging func()
}

func newBed(t testing.TB, cfg *model.DNSFilter, n *names) *bed {
	t.Helper()
	b := &bed{t: t, store: stats.NewStore()}
	hosts := map[string][]*upstream.Host{}
	for name, addrs := range map[string][]string{"web": {"10.0.1.1:80", "10.0.1.2:81"}, "cluster.local.test": {"10.0.2.1:80"}, "none": {}} {
		hosts[name] = []*upstream.Host{}
		for _, a := range addrs {
			hosts[name] = append(hosts[name], &upstream.Host{Address: netip.MustParseAddrPort(a)})
		}
	}
	line, err := format.Compile("%QUERY_NAME% %QUERY_TYPE% %QUERY_CLASS% %ANSWER_COUNT% %RESPONSE_CODE% %PARSE_STATUS%")
	if err != nil {
		t.Fatal(err)
	}
	cfg.StatPrefix = "p"
	d := Deps{
		Stats: b.store.Root(), Log: log.ForTest(t), Listener: "l", Hosts: func(name string) []*upstream.Host { return hosts[name] },
		AccessLog: func(c *format.Context) {
			b.mu.Lock()
			logging := b.logging
			b.mu.Unlock()
			if logging != nil {
				logging()
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.logs = append(b.logs, string(line.Append(nil, c)))
		},
	}
	if n != nil {
		d.Resolver = n
	}
	b.udp = udp.New(udp.Options{Stats: b.store.Root(), Log: log.ForTest(t), NewHandler: func(*model.Listener) (udp.Handler, error) { return New(cfg, d), nil }})
	t.Cleanup(b.udp.Close)
	l := &model.Listener{
		Resource: model.Resource{Name: "l"}, StatPrefix: "l", BindToPort: true, UDP: &model.UDPSocket{MaxDatagram: 1500},
		Address: netip.MustParseAddrPort("127.0.0.1:0"),
	}
	for _, err := range b.udp.Apply(&model.Snapshot{Listeners: model.SetOf(map[string]*model.Listener{"l": l})}) {
		t.Fatal(err)
	}
	b.addr = b.udp.List()[0].Addresses[0]
	return b
}

// dial is a client's socket.
func (b *bed) dial() *net.UDPConn {
	b.t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b.addr))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// query packs a question.
func query(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// exchange sends a datagram and tells what is answered: the code, the answers, and after a bar what is added.
func (b *bed) exchange(payload []byte) string {
	b.t.Helper()
	c := b.dial()
	if _, err := c.Write(payload); err != nil {
		b.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		b.t.Fatal(err)
	}
	if n > maxReply {
		b.t.Errorf("%d bytes", n)
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil {
		b.t.Fatal(err)
	}
	if !m.Response || m.ID != 7 || !m.RecursionDesired {
		b.t.Errorf("header %+v", m.Header)
	}
	return strings.TrimPrefix(m.RCode.String(), "RCode") + section(m.Answers) + bar(section(m.Additionals))
}

func bar(s string) string {
	if s == "" {
		return ""
	}
	return " |" + s
}

func section(list []dnsmessage.Resource) (text string) {
	for _, r := range list {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			text += fmt.Sprintf(" %s %d", netip.AddrFrom4(body.A), r.Header.TTL)
		case *dnsmessage.AAAAResource:
			text += fmt.Sprintf(" %s %d", netip.AddrFrom16(body.AAAA), r.Header.TTL)
		case *dnsmessage.SRVResource:
			text += fmt.Sprintf(" %d/%d/%s%d %d", body.Priority, body.Weight, body.Target, body.Port, r.Header.TTL)
		}
	}
	return text
}

// counters are those of the filter that are not 0.
func (b *bed) counters() map[string]uint64 {
	got := map[string]uint64{}
	for _, c := range b.store.Counters() {
		if name, ok := strings.CutPrefix(c.Name(), "dns_filter.p."); ok && c.Value() != 0 {
			got[name] = c.Value()
		}
	}
	return got
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func domains() []model.DNSDomain {
	service := func(name string, targets ...model.DNSTarget) model.DNSService {
		return model.DNSService{Name: name, TTL: time.Hour, Targets: targets}
	}
	return []model.DNSDomain{
		{Name: "one.local.test", TTL: time.Minute, Addresses: addrs("10.0.0.1", "fd00::1")},
		{Name: "four.local.test", TTL: time.Minute, Addresses: addrs("10.0.0.4")},
		{Name: "*.local.test", TTL: 2 * time.Minute, Addresses: addrs("10.0.0.9")},
		{Name: "*.deep.local.test", TTL: 3 * time.Minute, Addresses: addrs("10.0.0.8")},
		{Name: "web.local.test", TTL: time.Minute, Cluster: "web"},
		{Name: "empty.other.test", TTL: time.Minute, Cluster: "none"},
		{Name: "voip.local.test", TTL: time.Minute, Services: []model.DNSService{
			service("_sip._tcp.voip.local.test", model.DNSTarget{Host: "one.local.test", Priority: 1, Weight: 2, Port: 3}, model.DNSTarget{Host: "nowhere.test"}),
			service("_web._tcp.voip.local.test", model.DNSTarget{Cluster: "web", Priority: 4, Weight: 5}),
		}},
	}
}

func TestAnswers(t *testing.T) {
	b := newBed(t, &model.DNSFilter{Domains: domains()}, nil)
	for _, tc := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"one.local.test.", dnsmessage.TypeA, "Success 10.0.0.1 60"},
		{"one.local.test.", dnsmessage.TypeAAAA, "Success fd00::1 60"},
		{"four.local.test.", dnsmessage.TypeAAAA, "Success"},
		{"any.local.test.", dnsmessage.TypeA, "Success 10.0.0.9 120"},
		{"a.b.local.test.", dnsmessage.TypeA, "Success 10.0.0.9 120"},
		{"a.deep.local.test.", dnsmessage.TypeA, "Success 10.0.0.8 180"},
		{"web.local.test.", dnsmessage.TypeA, "Success 10.0.1.1 60 10.0.1.2 60"},
		{"web.local.test.", dnsmessage.TypeAAAA, "Success"},
		{"cluster.local.test.", dnsmessage.TypeA, "Success 10.0.2.1 120"},
		{"empty.other.test.", dnsmessage.TypeA, "NameError"},
		{"ONE.other.test.", dnsmessage.TypeA, "NameError"},
		{"nowhere.test.", dnsmessage.TypeA, "NameError"},
		{"one.local.test.", dnsmessage.TypeTXT, "NotImplemented"},
		{"_sip._tcp.voip.local.test.", dnsmessage.TypeSRV, "Success 1/2/one.local.test.3 3600 | 10.0.0.1 60 fd00::1 60"},
		{"_web._tcp.voip.local.test.", dnsmessage.TypeSRV, "Success 4/5/web.80 3600 4/5/web.81 3600 | 10.0.1.1 300 10.0.1.2 300"},
		{"_nfs._tcp.voip.local.test.", dnsmessage.TypeSRV, "NameError"},
	} {
		// Addresses of one answer come in the order that the start of the filter chose.
		if got := b.exchange(query(t, tc.name, tc.kind)); sorted(got) != sorted(tc.want) {
			t.Errorf("%s %v: %q, want %q", tc.name, tc.kind, got, tc.want)
		}
	}
	want := map[string]uint64{
		"downstream_rx_queries": 16, "downstream_tx_responses": 16, "a_record_queries": 9, "aaaa_record_queries": 3, "srv_record_queries": 3,
		"unsupported_queries": 1, "known_domain_queries": 14, "unanswered_queries": 7, "local_a_record_answers": 5, "local_aaaa_record_answers": 2,
		"local_srv_record_answers": 1, "cluster_a_record_answers": 5, "cluster_srv_record_answers": 2,
	}
	if diff := cmp.Diff(want, b.counters()); diff != "" {
		t.Error(diff)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.logs[0] != "one.local.test A IN 1 0 true" || b.logs[12] != "one.local.test 16 IN 0 4 true" {
		t.Errorf("log %q", b.logs)
	}
}

func sorted(s string) string {
	words := strings.Fields(s)
	slices.Sort(words)
	return strings.Join(words, " ")
}

func TestCaseInsensitive(t *testing.T) {
	b := newBed(t, &model.DNSFilter{CaseInsensitive: true, Domains: []model.DNSDomain{{Name: "One.Local.test", TTL: time.Minute, Addresses: addrs("10.0.0.1")}}}, nil)
	if got := b.exchange(query(t, "oNE.local.TEST.", dnsmessage.TypeA)); got != "Success 10.0.0.1 60" {
		t.Error(got)
	}
}

// An answer has as many records as fit, of those at random.
func TestManyAddresses(t *testing.T) {
	long := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + ".local.test"
	many := make([]netip.Addr, 100)
	for i := range many {
		many[i] = netip.AddrFrom16([16]byte{0xfd, 15: byte(i)})
	}
	b := newBed(t, &model.DNSFilter{Domains: []model.DNSDomain{
		{Name: "many.local.test", TTL: time.Minute, Addresses: many},
		{Name: long, TTL: time.Minute, Services: []model.DNSService{{Name: "_s._tcp." + "local.test", Targets: func() (out []model.DNSTarget) {
			for i := range 8 {
				out = append(out, model.DNSTarget{Host: fmt.Sprintf("t%d.many.test", i)})
			}
			return out
		}()}}},
		{Name: "*.many.test", TTL: time.Minute, Addresses: many[:3]},
	}}, nil)
	seen := map[string]bool{}
	for range 50 {
		got := b.exchange(query(t, "many.local.test.", dnsmessage.TypeAAAA))
		seen[got] = true
		if n := len(strings.Fields(got)); n != 1+2*maxAnswers {
			t.Fatalf("%d words in %q", n, got)
		}
	}
	if len(seen) < 2 {
		t.Errorf("always the same addresses: %v", seen)
	}
	if got := b.exchange(query(t, "_s._tcp.local.test.", dnsmessage.TypeSRV)); !strings.Contains(got, "t0.many.test.") || strings.Contains(got, "t7.many.test.") {
		t.Errorf("targets that do not fit: %q", got)
	}
}

func TestForwarding(t *testing.T) {
	n := &names{known: map[string]string{"ip4 far.test.": "192.0.2.1", "ip6 six.test.": "fd00::9", "ip4 broken.": "192.0.2.2"}, broken: 2}
	b := newBed(t, &model.DNSFilter{Domains: domains(), Retries: 2, Forward: &model.DNSForward{Timeout: 50 * time.Millisecond, MaxPending: 9}}, n)
	for _, tc := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"one.local.test.", dnsmessage.TypeA, "Success 10.0.0.1 60"},
		{"far.test.", dnsmessage.TypeA, "Success 192.0.2.1 300"},
		{"far.test.", dnsmessage.TypeAAAA, "Success"},
		{"six.test.", dnsmessage.TypeAAAA, "Success fd00::9 300"},
		{"absent.test.", dnsmessage.TypeA, "NameError"},
		{"broken.", dnsmessage.TypeA, "Success 192.0.2.2 300"},
		{"slow.", dnsmessage.TypeA, "ServerFailure"},
		{"_x._tcp.far.test.", dnsmessage.TypeSRV, "NotImplemented"},
	} {
		if got := b.exchange(query(t, tc.name, tc.kind)); got != tc.want {
			t.Errorf("%s %v: %q, want %q", tc.name, tc.kind, got, tc.want)
		}
	}
	want := map[string]uint64{
		"downstream_rx_queries": 8, "downstream_tx_responses": 8, "a_record_queries": 5, "aaaa_record_queries": 2, "srv_record_queries": 1,
		"known_domain_queries": 1, "local_a_record_answers": 1, "externally_resolved_queries": 7, "unanswered_queries": 4,
		"external_a_record_queries": 4, "external_aaaa_record_queries": 2, "external_unsupported_queries": 1,
		"external_a_record_answers": 2, "external_aaaa_record_answers": 1,
	}
	if diff := cmp.Diff(want, b.counters()); diff != "" {
		t.Error(diff)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := strings.Join(n.asked[len(n.asked)-3:], ","); got != "ip4 slow.,ip4 slow.,ip4 slow." {
		t.Errorf("asked last: %q", got)
	}
}

// More than may be pending are answered at once, and what is pending ends with the listener.
func TestPendingLookups(t *testing.T) {
	b := newBed(t, &model.DNSFilter{Forward: &model.DNSForward{Timeout: time.Hour, MaxPending: 1}}, &names{})
	waiting := b.dial()
	if _, err := waiting.Write(query(t, "slow.", dnsmessage.TypeA)); err != nil {
		t.Fatal(err)
	}
	if got := b.exchange(query(t, "slow.", dnsmessage.TypeAAAA)); got != "ServerFailure" {
		t.Errorf("got %q", got)
	}
	if n := b.udp.List()[0].Sessions; n != 1 {
		t.Errorf("%d pending", n)
	}
	if n := b.counters()["downstream_tx_responses"]; n != 1 {
		t.Errorf("%d answers", n)
	}
	b.udp.Close()
}

// A lookup is under way until its answer is logged: the listener's end waits for that.
func TestEndWaitsForAnswers(t *testing.T) {
	b := newBed(t, &model.DNSFilter{Forward: &model.DNSForward{Timeout: time.Minute, MaxPending: 1}}, &names{known: map[string]string{"ip4 far.test.": "192.0.2.1"}})
	logging, goOn := make(chan struct{}), make(chan struct{})
	b.mu.Lock()
	b.logging = func() {
		close(logging)
		<-goOn
	}
	b.mu.Unlock()
	if got := b.exchange(query(t, "far.test.", dnsmessage.TypeA)); got != "Success 192.0.2.1 300" {
		t.Errorf("got %q", got)
	}
	<-logging
	if n := b.udp.List()[0].Sessions; n != 1 {
		t.Errorf("%d pending", n)
	}
	go close(goOn)
	b.udp.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.logs) != 1 {
		t.Errorf("%d entries", len(b.logs))
	}
}

// A known name is answered with few allocations, all of them in the library that packs the message.
func TestAllocations(t *testing.T) {
	f := New(&model.DNSFilter{StatPrefix: "p", Domains: domains()}, Deps{
		Stats: stats.NewStore().Root(), Log: log.Discard(), Hosts: func(string) []*upstream.Host { return nil },
	})
	t.Cleanup(f.Close)
	payload := query(t, "one.local.test.", dnsmessage.TypeA)
	s := f.scratch.New().(*scratch)
	got := testing.AllocsPerRun(100, func() {
		s.reply.reset(dnsmessage.RCodeSuccess)
		if s.question.parse(payload) != faultNone || !f.answerLocally(&s.question, &s.reply) {
			t.Fatal("no answer")
		}
		if s.packed, _ = s.reply.pack(s.packed, &s.question, false, nil); len(s.packed) == 0 {
			t.Fatal("no message")
		}
	})
	if got > 8 {
		t.Errorf("%v allocations", got)
	}
}

func TestBadQueries(t *testing.T) {
	good := query(t, "one.local.test.", dnsmessage.TypeA)
	with := func(at int, v byte) []byte {
		out := slices.Clone(good)
		out[at] = v
		return out
	}
	b := newBed(t, &model.DNSFilter{Domains: domains()}, nil)
	for _, tc := range []struct {
		name    string
		payload []byte
		counter string
	}{
		{"two questions", with(5, 2), ""},
		{"no question", with(5, 0), ""},
		{"with an answer", with(7, 1), "queries_with_ans_or_authority_rrs"},
		{"with an authority", with(9, 1), "queries_with_ans_or_authority_rrs"},
		{"class CH", with(len(good)-1, 3), "query_parsing_failure"},
		{"cut off", good[:len(good)-3], "query_parsing_failure"},
		{"name that points to itself", append(slices.Clone(good[:12]), 0xc0, 12, 0, 1, 0, 1), "query_parsing_failure"},
		{"root", append(slices.Clone(good[:12]), 0, 0, 1, 0, 1), "query_parsing_failure"},
	} {
		before := b.counters()
		if got := b.exchange(tc.payload); got != "FormatError" {
			t.Errorf("%s: %q", tc.name, got)
		}
		after := b.counters()
		if after["downstream_rx_invalid_queries"] != before["downstream_rx_invalid_queries"]+1 {
			t.Errorf("%s is not counted", tc.name)
		}
		if tc.counter != "" && after[tc.counter] != before[tc.counter]+1 {
			t.Errorf("%s: no %s", tc.name, tc.counter)
		}
	}
	// Neither answers nor scraps are answered: the first answer is that of the good question behind them.
	c := b.dial()
	for _, payload := range [][]byte{with(2, 0x80), good[:11], {}, good} {
		if _, err := c.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 600)
	if n, err := c.Read(buf); err != nil || buf[3]&15 != 0 || n <= len(good) {
		t.Errorf("%x, %v", buf[:n], err)
	}
	if n := b.counters()["query_buffer_underflow"]; n != 2 {
		t.Errorf("%d underflows", n)
	}
	if got := b.exchange(append(with(11, 1), 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)); got != "Success 10.0.0.1 60" {
		t.Errorf("EDNS: %q", got)
	}
	if n := b.counters()["queries_with_additional_rrs"]; n != 1 {
		t.Errorf("%d with additional records", n)
	}
	if got := b.exchange(with(2, 0x29)); got != "NotImplemented" {
		t.Errorf("update: %q", got)
	}
}

// What is answered to anything is a message that can be read, or nothing.
func FuzzQuestion(f *testing.F) {
	f.Add(query(f, "one.local.test.", dnsmessage.TypeA))
	f.Add(query(f, "_sip._tcp.voip.local.test.", dnsmessage.TypeSRV))
	f.Add([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	cfg := &model.DNSFilter{StatPrefix: "p", Domains: domains()}
	filter := New(cfg, Deps{Stats: stats.NewStore().Root(), Log: log.Discard(), Hosts: func(string) []*upstream.Host { return nil }})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var s scratch
		if s.question.parse(payload) == faultNone {
			filter.answerLocally(&s.question, &s.reply)
		}
		out, err := s.reply.pack(nil, &s.question, true, func(int) int { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(out); err != nil || len(out) > maxReply {
			t.Fatalf("%x: %v", out, err)
		}
	})
}
