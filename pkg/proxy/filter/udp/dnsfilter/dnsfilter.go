// Package dnsfilter answers DNS questions: envoy.filters.udp.dns_filter.
//
// It owns the table of names, the answers and the questions that are put to other servers. It must not know sockets, which are
// package udp's, nor how clusters find their hosts.
//
// Where Envoy says that a name does not exist because it knows no address of the family asked for, or because no server answered, the
// answer here is that there is none of that kind (NOERROR), or that the lookup failed (SERVFAIL): a resolver that hears NXDOMAIN
// for one family stops asking for the other.
//
// Locking: the table is immutable. Filter.mu guards the lookups under way; each has a goroutine, which Close and Vacate wait for.
package dnsfilter

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/dns"
)

// Deps is what a filter uses. Stats, Log and Hosts are required.
type Deps struct {
	Stats *stats.Scope // the root
	Log   *slog.Logger
	// Listener is the name of the listener, for access logs.
	Listener string
	// Hosts are those of a cluster; nil when there is no such cluster.
	Hosts func(cluster string) []*upstream.Host
	// Resolver is asked for names that are not in the table; nil when no one is.
	Resolver dns.Resolver
	// AccessLog is called for each question that was answered; it may be nil.
	AccessLog func(*format.Context)
}

// Filter is a configured filter.
type Filter struct {
	cfg     *model.DNSFilter
	deps    Deps
	table   *table
	scope   *stats.Scope
	stats   counters
	scratch sync.Pool // of *scratch

	mu      sync.Mutex
	closed  bool
	pending map[*lookup]struct{} // until they are answered
	asking  uint64               // those of pending that are not resolved yet
}

var _ udp.Handler = (*Filter)(nil)

// scratch is what a question is answered in.
type scratch struct {
	question question
	reply    reply
	packed   []byte
}

// New makes the filter.
func New(cfg *model.DNSFilter, d Deps) *Filter {
	f := &Filter{
		cfg: cfg, deps: d, table: newTable(cfg, rand.IntN), scope: d.Stats.Scope("dns_filter." + cfg.StatPrefix), pending: map[*lookup]struct{}{},
	}
	f.stats = newCounters(f.scope)
	f.scratch.New = func() any { return &scratch{packed: make([]byte, 0, 2*maxReply)} }
	return f
}

// Handle implements udp.Handler.
func (f *Filter) Handle(d *udp.Datagram) {
	s := f.scratch.Get().(*scratch)
	defer f.scratch.Put(s)
	start := time.Now()
	f.stats.rxBytes.Record(uint64(len(d.Payload)))
	f.stats.queries.Inc()
	q := &s.question
	if fault := q.parse(d.Payload); fault != faultNone {
		f.count(fault)
		if fault != faultNoQuery && fault != faultShort {
			s.reply.reset(dnsmessage.RCodeFormatError)
			f.send(s, d, len(d.Payload), start)
		}
		return
	}
	if q.extra {
		f.stats.additional.Inc()
	}
	f.stats.asked.of(q.kind).Inc()
	s.reply.reset(dnsmessage.RCodeSuccess)
	switch {
	case !q.supported():
		s.reply.code = dnsmessage.RCodeNotImplemented
	case f.answerLocally(q, &s.reply):
	case f.deps.Resolver != nil:
		f.forward(q, d, start)
		return
	default:
		s.reply.code = dnsmessage.RCodeNameError
	}
	if len(s.reply.answers) == 0 {
		f.stats.unanswered.Inc()
	}
	f.send(s, d, len(d.Payload), start)
}

// count counts why a datagram is no question.
func (f *Filter) count(fault fault) {
	f.stats.invalid.Inc()
	switch fault {
	case faultShort:
		f.stats.underflow.Inc()
	case faultRecords, faultNoQuery:
		f.stats.otherRecords.Inc()
	case faultName:
		f.stats.unparsed.Inc()
	case faultNone, faultHeader:
	}
}

// answerLocally takes the answer from clusters and the table. false means that they do not know the name.
func (f *Filter) answerLocally(q *question, r *reply) bool {
	name := q.text(f.cfg.CaseInsensitive)
	if f.table.covers(name) {
		f.stats.known.Inc()
	} else if f.deps.Resolver != nil {
		return false // a cluster's name is looked for only where nobody else can be asked
	}
	if q.kind == dnsmessage.TypeSRV {
		return f.services(name, r)
	}
	d := f.table.find(name)
	ttl, cluster := defaultTTL, string(name)
	if d != nil {
		ttl = d.ttl
		if d.cluster != "" {
			cluster = d.cluster
		}
	}
	hosts := f.deps.Hosts(cluster)
	for _, h := range hosts {
		if r.address(q, h.Address.Addr(), ttl) {
			f.stats.cluster.of(q.kind).Inc()
		}
	}
	if len(r.answers) > 0 {
		return true
	}
	if d != nil {
		for _, a := range d.addresses {
			if r.address(q, a, ttl) {
				f.stats.local.of(q.kind).Inc()
			}
		}
	}
	return len(hosts) > 0 || d != nil && len(d.addresses) > 0
}

// send sends the reply to a question of so many bytes.
func (f *Filter) send(s *scratch, d *udp.Datagram, size int, start time.Time) {
	var err error
	if s.packed, err = s.reply.pack(s.packed, &s.question, f.deps.Resolver != nil, rand.IntN); err != nil {
		f.deps.Log.Debug("an answer cannot be packed", "name", s.question.name, "error", err)
		f.stats.nameOverflow.Inc()
		return
	}
	f.stats.txBytes.Record(uint64(len(s.packed)))
	f.stats.responses.Inc()
	if s.question.parsed {
		f.stats.latency.Record(uint64(time.Since(start).Milliseconds()))
	}
	if err := d.Reply.Send(s.packed, d.Peer); err != nil {
		f.deps.Log.Debug("an answer cannot be sent", "to", d.Peer, "error", err)
	}
	if f.deps.AccessLog != nil {
		f.log(s, d, size, start)
	}
}

func (f *Filter) log(s *scratch, d *udp.Datagram, size int, start time.Time) {
	c := d.Connection()
	c.Listener = f.deps.Listener
	q := &format.DNSQuery{Answers: s.reply.sent, Parsed: s.question.parsed}
	if q.Parsed {
		q.Name, q.Type, q.Class = string(s.question.text(false)), typeName(s.question.kind), "IN"
	}
	f.deps.AccessLog(&format.Context{DNS: q, Info: &streaminfo.Info{
		Conn: c, Start: start, Duration: time.Since(start), ResponseCode: int(s.reply.code),
		BytesReceived: uint64(size), BytesSent: uint64(len(s.packed)),
	}})
}

// Sessions implements udp.Handler: the lookups under way.
func (f *Filter) Sessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending)
}

// Unfinished implements udp.Handler.
func (f *Filter) Unfinished() (awaiting, captured int) { return f.Sessions(), 0 }

// Vacate implements udp.Handler.
func (f *Filter) Vacate(in *streaminfo.Namespace) {
	f.end(func(l *lookup) bool { return l.datagram.Within == in })
}

// Close implements udp.Handler.
func (f *Filter) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end(func(*lookup) bool { return true })
	f.scope.Close()
}

// addressOf tells the type of the records that hold an address.
func addressOf(a netip.Addr) dnsmessage.Type {
	if a.Is4() {
		return dnsmessage.TypeA
	}
	return dnsmessage.TypeAAAA
}
