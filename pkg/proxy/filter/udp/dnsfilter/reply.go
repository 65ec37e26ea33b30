package dnsfilter

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weir-proxy/weir/pkg/config/model"
)

const (
	// maxReply is the longest answer without extensions (RFC 1035 section 4.2.1).
	maxReply = 512
	// maxAnswers is how many records Envoy answers with at most.
	maxAnswers = 8
)

// reply is an answer on its way.
type reply struct {
	code    dnsmessage.RCode
	answers []record
	// sent is how many of the answers the packed reply has.
	sent int
}

// record is one of an answer: an address, or with srv a target.
type record struct {
	ttl  uint32
	addr netip.Addr
	srv  *target
}

// target is where a service is.
type target struct {
	name                   string
	priority, weight, port uint16
	// addresses that name has, with their TTL.
	addresses []netip.Addr
	ttl       uint32
}

func (r *reply) reset(code dnsmessage.RCode) {
	clear(r.answers)
	r.code, r.answers, r.sent = code, r.answers[:0], 0
}

// address adds an address, if the question asks for its family.
func (r *reply) address(q *question, a netip.Addr, ttl uint32) bool {
	a = a.Unmap()
	if !a.IsValid() || addressOf(a) != q.kind {
		return false
	}
	r.answers = append(r.answers, record{ttl: ttl, addr: a})
	return true
}

// pack makes the message, with as many answers as it has room for; more of them than are sent begin at random.
func (r *reply) pack(buf []byte, q *question, recursion bool, random func(int) int) ([]byte, error) {
	first := 0
	if len(r.answers) > maxAnswers {
		first = random(len(r.answers))
	}
	for n := min(len(r.answers), maxAnswers); ; n-- {
		out, err := r.build(buf[:0], q, recursion, first, n)
		if err != nil {
			return buf, err
		}
		if len(out) <= maxReply || n == 0 {
			r.sent = n
			return out, nil
		}
	}
}

// build makes the message with n answers.
func (r *reply) build(buf []byte, q *question, recursion bool, first, n int) ([]byte, error) {
	b := dnsmessage.NewBuilder(buf, dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, RecursionDesired: q.header.RecursionDesired, RecursionAvailable: recursion, RCode: r.code,
	})
	if !q.parsed {
		return b.Finish()
	}
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: q.name, Type: q.kind, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	for i := range n {
		if err := r.answers[(first+i)%len(r.answers)].add(&b, q.name); err != nil {
			return nil, err
		}
	}
	if err := b.StartAdditionals(); err != nil {
		return nil, err
	}
	for i := range n {
		if t := r.answers[(first+i)%len(r.answers)].srv; t != nil {
			if err := t.addAddresses(&b); err != nil {
				return nil, err
			}
		}
	}
	return b.Finish()
}

// add adds a record to the answers.
func (a *record) add(b *dnsmessage.Builder, name dnsmessage.Name) error {
	if a.srv == nil {
		return addAddress(b, name, a.addr, a.ttl)
	}
	to, err := dnsmessage.NewName(a.srv.name + ".")
	if err != nil {
		return err
	}
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: a.ttl}
	return b.SRVResource(h, dnsmessage.SRVResource{Priority: a.srv.priority, Weight: a.srv.weight, Port: a.srv.port, Target: to})
}

func (t *target) addAddresses(b *dnsmessage.Builder) error {
	name, err := dnsmessage.NewName(t.name + ".")
	if err != nil {
		return err
	}
	for _, a := range t.addresses {
		if err := addAddress(b, name, a, t.ttl); err != nil {
			return err
		}
	}
	return nil
}

func addAddress(b *dnsmessage.Builder, name dnsmessage.Name, a netip.Addr, ttl uint32) error {
	h := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl}
	if a.Is4() {
		return b.AResource(h, dnsmessage.AResource{A: a.As4()})
	}
	return b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
}

// services adds the targets of a service that have addresses. false means that there are none.
func (f *Filter) services(name []byte, r *reply) bool {
	s := f.table.services[string(name)]
	if s == nil {
		return false
	}
	for i := range s.targets {
		t := &s.targets[i]
		if t.Cluster != "" {
			f.clusterTargets(s, t, r)
		} else if d := f.table.find([]byte(t.Host)); d != nil && len(d.addresses) > 0 {
			r.answers = append(r.answers, record{ttl: s.ttl, srv: &target{
				name: t.Host, priority: t.Priority, weight: t.Weight, port: t.Port, addresses: d.addresses, ttl: d.ttl,
			}})
			f.stats.local.of(dnsmessage.TypeSRV).Inc()
			for _, a := range d.addresses {
				f.stats.local.of(addressOf(a)).Inc()
			}
		}
	}
	return len(r.answers) > 0
}

// clusterTargets adds a target for each host of a cluster.
func (f *Filter) clusterTargets(s *service, t *model.DNSTarget, r *reply) {
	for _, h := range f.deps.Hosts(t.Cluster) {
		a := h.Address.Addr().Unmap()
		if !a.IsValid() {
			continue
		}
		port := t.Port
		if port == 0 {
			port = h.Address.Port()
		}
		r.answers = append(r.answers, record{ttl: s.ttl, srv: &target{
			name: t.Cluster, priority: t.Priority, weight: t.Weight, port: port, addresses: []netip.Addr{a}, ttl: defaultTTL,
		}})
		f.stats.cluster.of(dnsmessage.TypeSRV).Inc()
		f.stats.cluster.of(addressOf(a)).Inc()
	}
}
