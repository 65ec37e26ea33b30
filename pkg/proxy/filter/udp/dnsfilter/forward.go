package dnsfilter

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/udp"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/dns"
)

// lookup is a question that was put to another server.
type lookup struct {
	question question
	// datagram is the question's, without its payload.
	datagram udp.Datagram
	size     int
	start    time.Time
	cancel   context.CancelFunc
	done     chan struct{}
}

// forward puts a question to another server, on a goroutine that answers it. Beyond max_pending_lookups it fails.
func (f *Filter) forward(q *question, d *udp.Datagram, start time.Time) {
	f.stats.forwarded.of(q.kind).Inc()
	l := &lookup{question: *q, datagram: *d, size: len(d.Payload), start: start, done: make(chan struct{})}
	l.datagram.Payload = nil
	if q.kind == dnsmessage.TypeSRV {
		f.finish(l, nil, dnsmessage.RCodeNotImplemented) // resolvers are asked for addresses only
		return
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	full := f.asking >= f.cfg.Forward.MaxPending
	var ctx context.Context
	if !full {
		ctx, l.cancel = context.WithCancel(context.Background())
		f.pending[l] = struct{}{}
		f.asking++
	}
	f.mu.Unlock()
	if full {
		f.finish(l, nil, dnsmessage.RCodeServerFailure)
		return
	}
	go f.look(ctx, l)
}

// look looks a name up and answers.
func (f *Filter) look(ctx context.Context, l *lookup) {
	defer close(l.done)
	defer l.cancel()
	addrs, code := f.resolve(ctx, l)
	f.mu.Lock()
	f.asking-- // before the answer, after which the client may ask again
	f.mu.Unlock()
	if ctx.Err() == nil {
		f.finish(l, addrs, code)
	}
	f.mu.Lock()
	delete(f.pending, l)
	f.mu.Unlock()
}

// resolve asks until there is an answer or the attempts are used up. A name without addresses of the family asked for may have some of
// the other one: then it exists.
func (f *Filter) resolve(ctx context.Context, l *lookup) ([]netip.Addr, dnsmessage.RCode) {
	family, other := model.DNSV4Only, model.DNSV6Only
	if l.question.kind == dnsmessage.TypeAAAA {
		family, other = other, family
	}
	name := l.question.name.String()
	for range f.cfg.Retries + 1 {
		addrs, err := f.attempt(ctx, family, name)
		switch {
		case len(addrs) > 0:
			return addrs, dnsmessage.RCodeSuccess
		case err == nil:
			if addrs, err := f.attempt(ctx, other, name); len(addrs) > 0 || err != nil {
				return nil, dnsmessage.RCodeSuccess
			}
			return nil, dnsmessage.RCodeNameError
		case ctx.Err() != nil:
			return nil, dnsmessage.RCodeServerFailure
		}
		f.deps.Log.Debug("a name is not found out", "name", name, "error", err)
	}
	return nil, dnsmessage.RCodeServerFailure
}

func (f *Filter) attempt(ctx context.Context, family model.DNSFamily, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Forward.Timeout)
	defer cancel()
	return dns.Lookup(ctx, f.deps.Resolver, family, name)
}

// finish answers with what another server said.
func (f *Filter) finish(l *lookup, addrs []netip.Addr, code dnsmessage.RCode) {
	s := f.scratch.Get().(*scratch)
	defer f.scratch.Put(s)
	s.question = l.question
	s.reply.reset(code)
	ttl := defaultTTL
	if d := f.table.find(l.question.text(f.cfg.CaseInsensitive)); d != nil {
		ttl = d.ttl
	}
	for _, a := range addrs {
		if s.reply.address(&s.question, a, ttl) {
			f.stats.external.of(s.question.kind).Inc()
		}
	}
	f.stats.resolved.Inc()
	if len(s.reply.answers) == 0 {
		f.stats.unanswered.Inc()
	}
	f.send(s, &l.datagram, l.size, l.start)
}

// end gives lookups up and waits for them.
func (f *Filter) end(which func(*lookup) bool) {
	var leaving []*lookup
	f.mu.Lock()
	for l := range f.pending {
		if which(l) {
			leaving = append(leaving, l)
			l.cancel()
		}
	}
	f.mu.Unlock()
	for _, l := range leaving {
		<-l.done
	}
}
