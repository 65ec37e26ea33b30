package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// Where the services of the scenarios are, as applications know them. Nothing has these addresses.
const (
	serviceAddr = "10.99.0.1"
	servicePort = 80
)

func service() string { return fmt.Sprintf("%s:%d", serviceAddr, servicePort) }

// Bursts are short, so that what takes turns is measured close together.
const (
	turns = 12
	burst = 400
)

// pair is a client in a captured cgroup and one outside of it.
type pair struct {
	group           string
	inside, outside *child
	server          *child
}

// pair starts two clients and a server, which is outside.
func (b *bench) pair() (p *pair, err error) {
	p = &pair{}
	elsewhere, err := b.rig.group("outside")
	if err != nil {
		return nil, err
	}
	if p.group, err = b.rig.group("inside"); err != nil {
		return nil, err
	}
	if p.inside, err = b.rig.application(p.group, "client"); err != nil {
		return nil, err
	}
	if p.outside, err = b.rig.application(elsewhere, "client"); err != nil {
		return nil, err
	}
	p.server, err = b.rig.application(elsewhere, "server", plain()...)
	return p, err
}

// listen makes a listener and gives its port.
func (c *child) listen(ctx context.Context, kind, addr string) (port int, err error) {
	err = c.ask(ctx, serving{Kind: kind, Addr: addr}, &port)
	return port, err
}

// timing is what a connection took, in microseconds: connect() alone, and all of it.
type timing struct{ alone, all float64 }

// connect makes connections and gives the time of each.
func (c *child) connect(ctx context.Context, with connects) (timing, error) {
	var out outcome
	err := c.ask(ctx, job{Connect: &with}, &out)
	return timing{float64(out.Alone) / 1000, float64(out.Nanoseconds) / 1000}, err
}

// side is one of several that take turns.
type side struct {
	client *child
	with   connects
}

// takeTurns makes bursts of connections on each side in turn and gives the time of the best burst of each: what else the machine
// does only adds to it.
func takeTurns(ctx context.Context, sides ...side) ([]timing, error) {
	best := make([]timing, len(sides))
	for n := range turns {
		for k := range sides {
			at := (n + k) % len(sides)
			with := sides[at].with
			with.From = n * with.Times
			us, err := sides[at].client.connect(ctx, with)
			if err != nil {
				return nil, err
			}
			if n == 0 {
				best[at] = us
			}
			best[at] = timing{min(best[at].alone, us.alone), min(best[at].all, us.all)}
		}
	}
	return best, nil
}

// uncaptured measures connect() and close() to a destination that is none of weir's, with weir and without it.
func (b *bench) uncaptured(ctx context.Context) error {
	defer b.rig.clear()
	p, err := b.pair()
	if err != nil {
		return err
	}
	port, err := p.server.listen(ctx, kindDrop, "127.0.0.1:0")
	if err != nil {
		return err
	}
	without := b.figure("uncaptured.without", "connect() and close() without weir", "us")
	outside := b.ratio("uncaptured.outside", "with weir, outside of the captured cgroups", 1.03, 0)
	inside := b.ratio("uncaptured.inside", "with weir, inside, destination not captured", 1.03, 0)
	alone := b.ratio("uncaptured.inside.connect", "the same, connect() alone", 1.03, 0)
	floor := b.ratio("uncaptured.floor", "without weir, empty programs at the hooks of the cgroup", 0, 0)
	floorAlone := b.ratio("uncaptured.floor.connect", "the same, connect() alone", 0, 0)
	with := connects{Addr: fmt.Sprintf("127.0.0.1:%d", port), Times: burst}
	sides := []side{{p.outside, with}, {p.inside, with}}
	for range 2*b.rounds + 1 {
		before, err := takeTurns(ctx, sides...)
		if err != nil {
			return err
		}
		empty, err := b.withEmpty(ctx, p.group, sides...)
		if err != nil {
			return err
		}
		weir, err := b.start(ctx, settings{
			group:     p.group,
			listeners: []string{virtual("shop", serviceAddr, servicePort, tcpTo("shop"))}, clusters: []string{staticCluster("shop", port)},
		})
		if err == nil {
			err = weir.rest(ctx)
		}
		if err != nil {
			return err
		}
		after, err := takeTurns(ctx, sides...)
		if err != nil {
			return err
		}
		weir.stop()
		without.Add(before[0].all)
		outside.Add(after[0].all / before[0].all)
		inside.Add(after[1].all / before[1].all)
		alone.Add(after[1].alone / before[1].alone)
		floor.Add(empty[1].all / before[1].all)
		floorAlone.Add(empty[1].alone / before[1].alone)
	}
	return nil
}

// withEmpty is takeTurns with programs that do nothing at the hooks of a cgroup, which is what weir's cost at least.
func (b *bench) withEmpty(ctx context.Context, group string, sides ...side) ([]timing, error) {
	detach, err := b.rig.attachEmpty(group)
	if err != nil {
		return nil, err
	}
	times, err := takeTurns(ctx, sides...)
	return times, errors.Join(err, detach())
}

// offloadEndpoints is how many endpoints the offloaded service has.
const offloadEndpoints = 1000

// offload measures connect() and throughput of an offloaded service beside the same without weir.
func (b *bench) offload(ctx context.Context) (err error) {
	defer b.rig.clear()
	p, err := b.pair()
	if err != nil {
		return err
	}
	port, err := p.server.listen(ctx, kindDrop, "0.0.0.0:0")
	if err != nil {
		return err
	}
	bulk, err := p.server.listen(ctx, kindBulk, "0.0.0.0:0")
	if err != nil {
		return err
	}
	f := fleet{services: 1, each: offloadEndpoints, port: port}
	one := fleet{services: 1, each: 1, port: bulk, other: true}
	xds, err := serve(f, one)
	if err != nil {
		return err
	}
	defer xds.Stop()
	if _, err := b.start(ctx, settings{group: p.group, xds: xds.Port()}); err != nil {
		return err
	}
	us := b.figure("offload.direct", "connect() and close(), direct", "us")
	ratio := b.ratio("offload.both", "to an offloaded service with 1,000 endpoints", 1.10, 0)
	alone := b.ratio("offload.connect", "the same, connect() alone", 1.10, 0)
	sides := []side{
		{p.outside, connects{Addr: f.endpoint(0, 0).String(), Spread: offloadEndpoints, Times: burst}},
		{p.inside, connects{Addr: f.service(0).String(), Times: burst}},
	}
	for range b.rounds {
		times, err := takeTurns(ctx, sides...)
		if err != nil {
			return err
		}
		us.Add(times[0].all)
		ratio.Add(times[1].all / times[0].all)
		alone.Add(times[1].alone / times[0].alone)
	}
	gbps := b.figure("offload.bulk.direct", "one stream, direct", "Gbit/s")
	throughput := b.ratio("offload.throughput", "offloaded", 0, 0.98)
	for range b.rounds {
		rates, err := bulkInTurns(ctx, stream{p.outside, one.endpoint(0, 0).String(), false}, stream{p.inside, one.service(0).String(), false})
		if err != nil {
			return err
		}
		gbps.Add(rates[0])
		throughput.Add(rates[1] / rates[0])
	}
	return xds.Failure()
}

// firstByte measures connect() up to the first byte from the server, through interception and a TCP proxy, beside haproxy. Weir does
// it twice: as haproxy does, which connects to the server when there is a client, and with connections that it has made ahead.
func (b *bench) firstByte(ctx context.Context) error {
	defer b.rig.clear()
	p, err := b.pair()
	if err != nil {
		return err
	}
	var ports [4]int // a server each, for ports are in use for a minute
	for i := range ports {
		if ports[i], err = p.server.listen(ctx, kindGreet, "127.0.0.1:0"); err != nil {
			return err
		}
	}
	peer, err := b.haproxy(ctx, ports[1])
	if err != nil {
		return err
	}
	const ahead = servicePort + 1
	weir, err := b.start(ctx, settings{
		group: p.group, interception: "offload: {mode: \"OFF\"}",
		listeners: []string{virtual("shop", serviceAddr, servicePort, tcpTo("shop")), virtual("ahead", serviceAddr, ahead, tcpTo("ahead"))},
		clusters:  []string{staticCluster("shop", ports[2]), staticCluster("ahead", ports[3], preconnected)},
	})
	if err == nil {
		err = weir.rest(ctx)
	}
	if err != nil {
		return err
	}
	const times = burst / 4
	sides := []side{
		{p.outside, connects{Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), Greeted: true, Times: times}},
		{p.outside, connects{Addr: fmt.Sprintf("127.0.0.1:%d", peer), Greeted: true, Times: times}},
		{p.inside, connects{Addr: service(), Greeted: true, Times: times}},
		{p.inside, connects{Addr: fmt.Sprintf("%s:%d", serviceAddr, ahead), Greeted: true, Times: times}},
	}
	figures := []*measure.Figure{
		b.figure("first-byte.direct", "connect() and first byte, direct", "us"),
		b.figure("first-byte.haproxy", "through haproxy", "us"),
		b.figure("first-byte.weir", "intercepted, through weir", "us"),
		b.figure("first-byte.ahead", "the same with preconnect_policy (ratio 2)", "us"),
	}
	ratio := b.ratio("first-byte.ratio", "weir / haproxy", 0.8, 0)
	ratioAhead := b.ratio("first-byte.ahead.ratio", "weir with preconnect_policy / haproxy", 0.8, 0)
	for range b.rounds {
		times, err := takeTurns(ctx, sides...)
		if err != nil {
			return err
		}
		for i, f := range figures {
			f.Add(times[i].all)
		}
		ratio.Add(times[2].all / times[1].all)
		ratioAhead.Add(times[3].all / times[1].all)
	}
	return nil
}
