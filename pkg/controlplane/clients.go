package controlplane

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	// linger is for how long a client is remembered after its last stream ended, or its last poll.
	linger = 5 * time.Minute
	// maxGone bounds how many streams that ended are remembered.
	maxGone = 10_000
)

// clients is what is known of all clients. It turns what they do into events, one at a time.
type clients struct {
	groupOf func(*corev3.Node) string

	telling sync.Mutex // orders the events
	tell    func(Event)

	mu    sync.Mutex
	talks map[*talk]struct{}
	// polls finds the talk of a client that polls, by node and address.
	polls map[string]*talk
}

// talk is one stream of a client, or its polling. clients.mu guards it.
type talk struct {
	service     string // type URL; "" is the aggregated service, or all that is polled
	delta, poll bool
	peer        string
	identity    string
	node        *corev3.Node // nil before the first request
	since       time.Time
	ended       time.Time // zero while it lasts
	last        time.Time // of the last request
	topics      map[string]*topic
}

// topic is what a client was told of one type.
type topic struct {
	url      string
	wildcard bool
	// names it asked for.
	names map[string]struct{}
	// pending are the responses that wait for an answer, by nonce.
	pending map[string]Event
	// holds is what it was sent and not told to be gone.
	holds map[string]held

	sent, acked     string
	sentAt, ackedAt time.Time
	// err is why it rejected what it was last sent; "" is nothing rejected since the last ACK.
	err, errVersion string
	errAt           time.Time
	acks, nacks     int
}

// held is a resource that a client was sent.
type held struct {
	version string
	body    *anypb.Any
	at      time.Time
	state   holdState
}

// holdState is what the client made of a resource.
type holdState uint8

const (
	holdSent holdState = iota
	holdAcked
	holdRejected
)

func newClients(tell func(Event), groupOf func(*corev3.Node) string) *clients {
	if tell == nil {
		tell = func(Event) {}
	}
	return &clients{groupOf: groupOf, tell: tell, talks: map[*talk]struct{}{}, polls: map[string]*talk{}}
}

// emit tells events in order.
func (c *clients) emit(events ...Event) {
	c.telling.Lock()
	defer c.telling.Unlock()
	for _, e := range events {
		c.tell(e)
	}
}

// open begins a stream.
func (c *clients) open(service string, from caller, delta bool) *talk {
	now := time.Now()
	t := &talk{service: service, peer: from.addr, identity: from.identity, delta: delta, since: now, last: now, topics: map[string]*topic{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talks[t] = struct{}{}
	return t
}

// close ends a stream. It is remembered for a while if it ever said who it was.
func (c *clients) close(t *talk) {
	c.mu.Lock()
	t.ended = time.Now()
	met := t.node != nil
	if !met {
		delete(c.talks, t)
	}
	for _, p := range t.topics {
		p.holds, p.pending = nil, nil
	}
	c.prune()
	c.mu.Unlock()
	if met {
		c.emit(t.event(Disconnected))
	}
}

// prune forgets who has been gone for long.
func (c *clients) prune() {
	var gone []*talk
	for t := range c.talks {
		switch {
		case t.poll && time.Since(t.last) > linger:
			delete(c.polls, pollKey(t.node, t.peer))
			delete(c.talks, t)
		case !t.ended.IsZero() && time.Since(t.ended) > linger:
			delete(c.talks, t)
		case !t.ended.IsZero():
			gone = append(gone, t)
		}
	}
	if len(gone) > maxGone {
		slices.SortFunc(gone, func(a, b *talk) int { return a.ended.Compare(b.ended) })
		for _, t := range gone[:len(gone)-maxGone] {
			delete(c.talks, t)
		}
	}
}

// event is an event of the stream as a whole.
func (t *talk) event(kind EventKind) Event {
	return Event{Kind: kind, Node: t.node.GetId(), Peer: t.peer, Delta: t.delta, Poll: t.poll, Type: shortType(t.service)}
}

// topic is that of a type.
func (t *talk) topic(url string) *topic {
	if url == "" {
		url = t.service
	}
	p := t.topics[url]
	if p == nil {
		p = &topic{url: url, names: map[string]struct{}{}, pending: map[string]Event{}, holds: map[string]held{}}
		t.topics[url] = p
	}
	return p
}

// request is what any request says.
type request struct {
	url, nonce string
	node       *corev3.Node
	detail     *statuspb.Status
	// names are all that are asked for (state of the world); subscribe and unsubscribe change them (delta).
	names, subscribe, unsubscribe []string
}

// heard takes a request of a stream.
func (c *clients) heard(t *talk, r request) {
	c.mu.Lock()
	events := c.judge(t, r)
	c.mu.Unlock()
	c.emit(events...)
}

// judge tells what a request means.
func (c *clients) judge(t *talk, r request) (out []Event) {
	t.last = time.Now()
	if t.node == nil {
		if t.node = r.node; t.node == nil {
			t.node = &corev3.Node{}
		}
		out = append(out, t.event(Connected))
	}
	p := t.topic(r.url)
	p.subscribe(t.delta, r)
	event, ok := p.pending[r.nonce]
	if !ok {
		return out
	}
	delete(p.pending, r.nonce)
	return append(out, p.settle(t, event, r.detail))
}

// settle notes the answer to a response.
func (p *topic) settle(t *talk, sent Event, detail *statuspb.Status) Event {
	sent.Kind, sent.Node, sent.Peer, sent.Delta = Acknowledged, t.node.GetId(), t.peer, t.delta
	sent.Poll = t.poll
	state := holdAcked
	if detail == nil {
		p.acks++
		p.acked, p.ackedAt, p.err = sent.Version, t.last, ""
	} else {
		p.nacks++
		sent.Kind, sent.Err, state = Rejected, detail.GetMessage(), holdRejected
		p.err, p.errVersion, p.errAt = detail.GetMessage(), sent.Version, t.last
	}
	for _, name := range sent.Names {
		if h, ok := p.holds[name]; ok {
			h.state = state
			p.holds[name] = h
		}
	}
	return sent
}

// subscribe follows what the client asks for.
func (p *topic) subscribe(delta bool, r request) {
	if !delta {
		p.wildcard = len(r.names) == 0 && (p.wildcard || len(p.names) == 0) || slices.Contains(r.names, "*")
		p.names = make(map[string]struct{}, len(r.names))
		for _, n := range r.names {
			p.names[n] = struct{}{}
		}
		delete(p.names, "*")
		if !p.wildcard && len(p.holds) > len(p.names) {
			maps.DeleteFunc(p.holds, func(name string, _ held) bool { _, ok := p.names[name]; return !ok })
		}
		return
	}
	if r.nonce == "" && len(r.subscribe) == 0 && len(p.names) == 0 {
		p.wildcard = true
	}
	for _, n := range r.subscribe {
		p.names[n] = struct{}{}
	}
	for _, n := range r.unsubscribe {
		delete(p.names, n)
		if !p.wildcard {
			delete(p.holds, n)
		}
		p.wildcard = p.wildcard && n != "*"
	}
	if _, ok := p.names["*"]; ok {
		p.wildcard = true
		delete(p.names, "*")
	}
}

// response is what a client is about to be sent.
type response struct {
	url, nonce, version string
	// full tells that what is not among the resources is gone.
	full    bool
	names   []string
	hold    func(i int) held
	removed []string
}

// saying notes a response on a stream.
func (c *clients) saying(t *talk, r response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := t.topic(r.url)
	p.say(r)
	// An answer to a later response of a type stands for the earlier ones too.
	if !t.delta {
		clear(p.pending)
	}
	p.pending[r.nonce] = r.event(p.url)
}

// event is what will be told of the response when it is answered.
func (r response) event(url string) Event {
	slices.Sort(r.names)
	slices.Sort(r.removed)
	return Event{Type: shortType(url), Version: r.version, Names: r.names, Removed: r.removed}
}

// say notes what the client has from now on.
func (p *topic) say(r response) {
	p.sent, p.sentAt = r.version, time.Now()
	if r.full {
		clear(p.holds)
	}
	for i, name := range r.names {
		h := r.hold(i)
		h.at = p.sentAt
		p.holds[name] = h
	}
	for _, name := range r.removed {
		delete(p.holds, name)
	}
}

// pollKey finds the polling of a client.
func pollKey(n *corev3.Node, peer string) string {
	host := peer
	if i := strings.LastIndex(peer, ":"); i >= 0 {
		host = peer[:i]
	}
	return n.GetId() + "\x00" + host
}

// polled notes a poll and its answer, which is nil when there was nothing new.
func (c *clients) polled(from caller, r request, version string, a *sotwAnswer) {
	c.mu.Lock()
	key := pollKey(r.node, from.addr)
	t := c.polls[key]
	if t == nil {
		now := time.Now()
		t = &talk{poll: true, since: now, last: now, topics: map[string]*topic{}}
		c.polls[key], c.talks[t] = t, struct{}{}
		c.prune()
	}
	t.peer, t.identity = from.addr, from.identity
	p := t.topic(r.url)
	// The version that is in use tells what became of the answer before.
	const before = "before"
	if sent, ok := p.pending[before]; ok && (version == sent.Version || r.detail != nil) {
		r.nonce = before
	}
	events := c.judge(t, r)
	if a != nil {
		said := responseOf(a)
		p.say(said)
		p.pending[before] = said.event(p.url)
	}
	c.mu.Unlock()
	c.emit(events...)
}
