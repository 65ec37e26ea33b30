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

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Resolver looks names up; *net.Resolver is one. network is "ip", "ip4" or "ip6".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

var _ Resolver = (*net.Resolver)(nil)

// System is the resolver of /etc/hosts and /etc/resolv.conf, which it reads again when they change, in Go's own
// implementation: a lookup that is given up leaves no thread behind.
func System() Resolver { return &net.Resolver{PreferGo: true} }

// New is the resolver that a configuration asks for: fallback, unless it names servers or a way to ask them.
func New(o *model.DNS, fallback Resolver) Resolver {
	r := fallback
	if len(o.Servers) > 0 || o.TCP {
		var turn atomic.Uint32
		r = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if len(o.Servers) > 0 {
				address = o.Servers[int(turn.Add(1)-1)%len(o.Servers)].String()
			}
			if o.TCP {
				network = "tcp"
			}
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}}
	}
	if o.NoSearch {
		r = absolute{r}
	}
	return r
}

// absolute takes names as they are.
type absolute struct{ Resolver }

// LookupNetIP implements Resolver.
func (a absolute) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if !strings.HasSuffix(host, ".") {
		host += "."
	}
	return a.Resolver.LookupNetIP(ctx, network, host)
}

// Lookup resolves a name to the addresses of a family, in the resolver's order and without repetition. No addresses and
// no error means that the name exists without addresses of the family, or does not exist.
func Lookup(ctx context.Context, r Resolver, family model.DNSFamily, name string) ([]netip.Addr, error) {
	switch family {
	case model.DNSV4Only:
		return lookup(ctx, r, "ip4", name)
	case model.DNSV6Only:
		return lookup(ctx, r, "ip6", name)
	case model.DNSV4Preferred:
		return firstOf(ctx, r, name, "ip4", "ip6")
	case model.DNSAll:
		return lookup(ctx, r, "ip", name)
	}
	return firstOf(ctx, r, name, "ip6", "ip4")
}

// firstOf takes the second network only when the first has no address.
func firstOf(ctx context.Context, r Resolver, name, first, second string) ([]netip.Addr, error) {
	addrs, err := lookup(ctx, r, first, name)
	if len(addrs) > 0 || ctx.Err() != nil {
		return addrs, err
	}
	others, otherErr := lookup(ctx, r, second, name)
	if len(others) > 0 {
		return others, nil
	}
	return nil, errors.Join(err, otherErr)
}

func lookup(ctx context.Context, r Resolver, network, name string) ([]netip.Addr, error) {
	addrs, err := r.LookupNetIP(ctx, network, name)
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		fits := network == "ip" || a.Is4() == (network == "ip4")
		if fits && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}
