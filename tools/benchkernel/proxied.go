package main

import (
	"context"
	"fmt"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// modes of acceleration, as the configuration calls them, and the goals that they have.
var modes = []struct {
	name, field string
	// bulk is what the throughput should at least be, of haproxy's; request what a request may cost of what it costs without
	// acceleration.
	bulk, request float64
}{
	{"off", "", 1.0, 0},
	{"receive", "acceleration: {mode: RECEIVE, applications: [%s]}", 1.3, 0.90},
	{"full", "acceleration: {mode: FULL, applications: [%s]}", 2.0, 0.80},
}

// lane is a weir in one mode of acceleration, with a client and a server that it captures.
type lane struct {
	mode           int
	weir           *daemon
	client, server *child
	port           int
}

// lanes starts a weir for each mode, all at once, so that they can take turns. A mode that weir refuses is left out, and noted.
func (b *bench) lanes(ctx context.Context, kind string, filter string) ([]*lane, error) {
	var all []*lane
	for i, mode := range modes {
		group, err := b.rig.group(mode.name)
		if err != nil {
			return nil, err
		}
		l := &lane{mode: i}
		if l.client, err = b.rig.application(group, "client"); err != nil {
			return nil, err
		}
		if l.server, err = b.rig.application(group, "server"); err != nil {
			return nil, err
		}
		if l.port, err = l.server.listen(ctx, kind, "127.0.0.1:0"); err != nil {
			return nil, err
		}
		field := mode.field
		if field != "" { // its applications are named, as some kernels have only such take part
			field = fmt.Sprintf(field, group)
		}
		l.weir, err = b.start(ctx, settings{
			group: group, interception: joined(`offload: {mode: "OFF"}`, field),
			listeners: []string{virtual("shop", serviceAddr, servicePort, filter)}, clusters: []string{staticCluster("shop", l.port)},
		})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && i > 0:
			b.note("acceleration %s: %v", mode.name, err)
			continue
		case err != nil:
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func joined(a, b string) string {
	if b == "" {
		return a
	}
	return a + ", " + b
}

const (
	// bulkBytes are those of one stream: a fifth of a second or so.
	bulkBytes = 256 << 20
	// bulkTurns is how many streams a round has of each side, of which the best counts.
	bulkTurns = 3
)

// stream is one of several that take turns.
type stream struct {
	client *child
	addr   string
	send   bool
}

// bulkInTurns gives the best rate of each stream in Gbit/s.
func bulkInTurns(ctx context.Context, streams ...stream) ([]float64, error) {
	best := make([]float64, len(streams))
	for range bulkTurns {
		for i, s := range streams {
			rate, err := s.client.bulk(ctx, s.addr, s.send)
			if err != nil {
				return nil, fmt.Errorf("stream to %s: %w", s.addr, err)
			}
			best[i] = max(best[i], rate)
		}
	}
	return best, nil
}

// bulk moves bytes to the client, or from it, and gives Gbit/s.
func (c *child) bulk(ctx context.Context, addr string, send bool) (float64, error) {
	var out outcome
	if err := c.ask(ctx, job{Bulk: &transfer{Addr: addr, Bytes: bulkBytes, Send: send}}, &out); err != nil {
		return 0, err
	}
	return bulkBytes * 8 / float64(out.Nanoseconds), nil
}

// bulk measures one stream through interception and a TCP proxy, beside haproxy with splice, in both directions.
func (b *bench) bulk(ctx context.Context) error {
	defer b.rig.clear()
	lanes, err := b.lanes(ctx, kindBulk, tcpTo("shop"))
	if err != nil {
		return err
	}
	peer, err := b.haproxy(ctx, lanes[0].port)
	if err != nil {
		return err
	}
	outside, err := b.rig.application("", "client")
	if err != nil {
		return err
	}
	for _, direction := range []string{"download", "upload"} {
		haproxy := b.figure("bulk."+direction+".haproxy", "one stream through haproxy with splice", "Gbit/s")
		ratios := make([]*measure.Figure, len(lanes))
		for i, l := range lanes {
			mode := modes[l.mode]
			ratios[i] = b.ratio("bulk."+direction+"."+mode.name, "through weir, acceleration "+mode.name, 0, mode.bulk)
		}
		streams := []stream{{outside, fmt.Sprintf("127.0.0.1:%d", peer), direction == "upload"}}
		for _, l := range lanes {
			streams = append(streams, stream{l.client, service(), direction == "upload"})
		}
		for range b.rounds {
			rates, err := bulkInTurns(ctx, streams...)
			if err != nil {
				return err
			}
			haproxy.Add(rates[0])
			for i := range lanes {
				ratios[i].Add(rates[i+1] / rates[0])
			}
		}
	}
	return nil
}

// Load of the HTTP scenario.
const (
	httpConnections  = 64
	httpMilliseconds = 1000
)

// http measures weir's CPU time for each request of 1 KB between processes of the host, and that of client, weir and server together.
func (b *bench) http(ctx context.Context) error {
	defer b.rig.clear()
	lanes, err := b.lanes(ctx, kindHTTP, httpTo("shop"))
	if err != nil {
		return err
	}
	off := b.figure("http.off", "HTTP/1.1, 1 KB, 64 connections, acceleration off", "us CPU")
	ratios, together := make([]*measure.Figure, len(lanes)), make([]*measure.Figure, len(lanes))
	for i, l := range lanes[1:] {
		ratios[i+1] = b.ratio("http."+modes[l.mode].name, "CPU of a request, acceleration "+modes[l.mode].name+" / off", modes[l.mode].request, 0)
	}
	offTogether := b.figure("http.all.off", "the same of client, weir and server together, off", "us CPU")
	for i, l := range lanes[1:] {
		together[i+1] = b.ratio("http.all."+modes[l.mode].name, "the same, acceleration "+modes[l.mode].name+" / off", 0, 0)
	}
	for range b.rounds {
		var base cost
		for i, l := range lanes {
			us, err := l.request(ctx)
			if err != nil {
				return fmt.Errorf("acceleration %s: %w", modes[l.mode].name, err)
			}
			if i == 0 {
				base = us
				off.Add(us.weir)
				offTogether.Add(us.all)
				continue
			}
			ratios[i].Add(us.weir / base.weir)
			together[i].Add(us.all / base.all)
		}
	}
	return nil
}

// cost is the CPU time of a request in microseconds: weir's, and that of client, weir and server together. What the kernel does for
// one of them at another's expense evens out in the latter.
type cost struct{ weir, all float64 }

// request gives the cost of a request.
func (l *lane) request(ctx context.Context) (cost, error) {
	var out outcome
	spent, err := spent([]*child{l.weir.child, l.client, l.server}, func() error {
		return l.client.ask(ctx, job{Requests: &requests{Addr: service(), Connections: httpConnections, Milliseconds: httpMilliseconds}}, &out)
	})
	if err == nil && out.Done == 0 {
		err = fmt.Errorf("no request was answered")
	}
	if err != nil {
		return cost{}, err
	}
	var all float64
	for _, one := range spent {
		all += float64(one.Microseconds())
	}
	return cost{weir: float64(spent[0].Microseconds()) / float64(out.Done), all: all / float64(out.Done)}, nil
}
