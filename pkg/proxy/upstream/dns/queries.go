package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// Queries counts what resolvers are asked: dns.cares.*, as the resolver that is Envoy's default calls it. It is safe for
// concurrent use.
type Queries struct {
	total, notFound, timeout, failure *stats.Counter
	pending                           *stats.Gauge
}

// NewQueries counts below the root.
func NewQueries(root *stats.Scope) *Queries {
	sc := root.Scope("dns.cares")
	return &Queries{
		total: sc.Counter("resolve_total"), notFound: sc.Counter("not_found"), timeout: sc.Counter("timeout"),
		failure: sc.Counter("get_addr_failure"), pending: sc.Gauge("pending_resolutions"),
	}
}

// Of counts the queries of a resolver.
func (q *Queries) Of(r Resolver) Resolver { return counted{r, q} }

// counted is a resolver whose queries are counted.
type counted struct {
	Resolver
	queries *Queries
}

var _ Timed = counted{}

// LookupNetIP implements Resolver.
func (c counted) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	c.queries.begin()
	addrs, err := c.Resolver.LookupNetIP(ctx, network, host)
	c.queries.end(ctx, err)
	return addrs, err
}

// LookupTTL implements Timed.
func (c counted) LookupTTL(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
	c.queries.begin()
	addrs, ttl, err := asker(c.Resolver, true)(ctx, network, host)
	c.queries.end(ctx, err)
	return addrs, ttl, err
}

func (q *Queries) begin() {
	q.total.Inc()
	q.pending.Inc()
}

// end counts how a query ended; one that was given up has no result.
func (q *Queries) end(ctx context.Context, err error) {
	q.pending.Dec()
	e, _ := errors.AsType[*net.DNSError](err)
	_, otherFamily := errors.AsType[*net.AddrError](err) // the name has addresses, but none of the family
	switch {
	case err == nil, errors.Is(ctx.Err(), context.Canceled):
	case e != nil && e.IsNotFound, otherFamily:
		q.notFound.Inc()
	case e != nil && e.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		q.timeout.Inc()
	default:
		q.failure.Inc()
	}
}
