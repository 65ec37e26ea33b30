// Package dns keeps DNS names resolved, for STRICT_DNS and LOGICAL_DNS clusters.
//
// It owns a goroutine per watched name. It must not know clusters or hosts: it reports addresses. Locking: none beyond
// what waits for the goroutines.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Resolver looks names up; *net.Resolver is one. network is "ip", "ip4" or "ip6".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Timed is a Resolver that knows for how long its answers are good.
type Timed interface {
	Resolver
	// LookupTTL is LookupNetIP. ttl is the shortest of the records that made the answer, and 0 where it was none of records, as
	// from /etc/hosts.
	LookupTTL(ctx context.Context, network, host string) (addrs []netip.Addr, ttl time.Duration, err error)
}

var (
	_ Resolver = (*net.Resolver)(nil)
	_ Timed    = (*stub)(nil)
	_ Timed    = absolute{}
)

// System is the resolver of /etc/hosts and /etc/resolv.conf, which it reads again when they change, in Go's own
// implementation: a lookup that is given up leaves no thread behind.
func System() Resolver { return newStub(nil, false) }

// New is the resolver that a configuration asks for: fallback, unless it names servers or a way to ask them.
func New(o *model.DNS, fallback Resolver) Resolver {
	r := fallback
	if len(o.Servers) > 0 || o.TCP {
		r = newStub(o.Servers, o.TCP)
	}
	if o.NoSearch {
		r = absolute{r}
	}
	return r
}

// stub is Go's own implementation of a resolver. It asks servers in turn, or those of the system when there are none.
type stub struct {
	servers []netip.AddrPort
	tcp     bool
	turn    atomic.Uint32
	shared  net.Resolver // for lookups of which no TTL is wanted
}

func newStub(servers []netip.AddrPort, tcp bool) *stub {
	s := &stub{servers: servers, tcp: tcp}
	s.shared = net.Resolver{PreferGo: true, Dial: s.dial}
	return s
}

func (s *stub) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if len(s.servers) > 0 {
		address = s.servers[int(s.turn.Add(1)-1)%len(s.servers)].String()
	}
	if s.tcp {
		network = "tcp"
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// LookupNetIP implements Resolver.
func (s *stub) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return s.shared.LookupNetIP(ctx, network, host)
}

// LookupTTL implements Timed. Go's resolver tells no TTL, so it is read off the answers that pass on their way to it. Each lookup
// has a resolver of its own, since one may share an answer among lookups of the same name.
func (s *stub) LookupTTL(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
	var w witness
	own := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := s.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return w.watch(c), nil
	}}
	addrs, err := own.LookupNetIP(ctx, network, host)
	return addrs, w.ttl(), err
}

// absolute takes names as they are.
type absolute struct{ Resolver }

// LookupNetIP implements Resolver.
func (a absolute) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return a.Resolver.LookupNetIP(ctx, network, rooted(host))
}

// LookupTTL implements Timed.
func (a absolute) LookupTTL(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
	return asker(a.Resolver, true)(ctx, network, rooted(host))
}

func rooted(host string) string {
	if strings.HasSuffix(host, ".") {
		return host
	}
	return host + "."
}

// ask looks a name up. The TTL is 0 when it is not known.
type ask func(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error)

// asker asks a resolver, for the TTL as well when that is wanted and the resolver knows.
func asker(r Resolver, timed bool) ask {
	if t, ok := r.(Timed); ok && timed {
		return t.LookupTTL
	}
	return func(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
		addrs, err := r.LookupNetIP(ctx, network, host)
		return addrs, 0, err
	}
}

// Lookup resolves a name to the addresses of a family, in the resolver's order and without repetition. No addresses and
// no error means that the name exists without addresses of the family, or does not exist.
func Lookup(ctx context.Context, r Resolver, family model.DNSFamily, name string) ([]netip.Addr, error) {
	addrs, _, err := asker(r, false).family(ctx, family, name)
	return addrs, err
}

// family is Lookup with the TTL of the answer.
func (a ask) family(ctx context.Context, family model.DNSFamily, name string) ([]netip.Addr, time.Duration, error) {
	switch family {
	case model.DNSV4Only:
		return a.network(ctx, "ip4", name)
	case model.DNSV6Only:
		return a.network(ctx, "ip6", name)
	case model.DNSV4Preferred:
		return a.firstOf(ctx, name, "ip4", "ip6")
	case model.DNSAll:
		return a.network(ctx, "ip", name)
	}
	return a.firstOf(ctx, name, "ip6", "ip4")
}

// firstOf takes the second network only when the first has no address.
func (a ask) firstOf(ctx context.Context, name, first, second string) ([]netip.Addr, time.Duration, error) {
	addrs, ttl, err := a.network(ctx, first, name)
	if len(addrs) > 0 || ctx.Err() != nil {
		return addrs, ttl, err
	}
	others, ttl, otherErr := a.network(ctx, second, name)
	if len(others) > 0 {
		return others, ttl, nil
	}
	return nil, 0, errors.Join(err, otherErr)
}

func (a ask) network(ctx context.Context, network, name string) ([]netip.Addr, time.Duration, error) {
	addrs, ttl, err := a(ctx, network, name)
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var out []netip.Addr
	for _, addr := range addrs {
		addr = addr.Unmap()
		fits := network == "ip" || addr.Is4() == (network == "ip4")
		if fits && !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out, ttl, nil
}
