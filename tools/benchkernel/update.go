package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-proxy/weir/tools/bench/deltaxds"
	"github.com/weir-proxy/weir/tools/bench/measure"
)

const (
	// serviceEndpoints is how many endpoints the services of a fleet have.
	serviceEndpoints = 10
	// perRound is how many changes a round has.
	perRound = 100
	// beforeChange is how long the client connects before a change, and weir rests after the one before.
	beforeChange = 4 * time.Millisecond
	// heldUp is what a client may be held up by at most, itself, for a change to count. It does not need weir to go on.
	heldUp = 2 * time.Millisecond
	// settled is how long weir is left alone after it has loaded a fleet: the collector works then.
	settled = 3 * time.Second
)

// update measures how soon after the change of an endpoint was sent a connect() obeys it, in fleets of three sizes.
func (b *bench) update(ctx context.Context) error {
	var smallest *measure.Figure
	for _, endpoints := range []int{b.endpoints / 100, b.endpoints / 10, b.endpoints} {
		p50 := b.figure(fmt.Sprintf("update.%d.median", endpoints), fmt.Sprintf("endpoint sent by xDS until connect() obeys, %d endpoints", endpoints), "ms")
		all := b.figure(fmt.Sprintf("update.%d.all.p99", endpoints), "the same, 99th percentile", "ms")
		p99 := b.figure(fmt.Sprintf("update.%d.p99", endpoints), "99th percentile of those during which the machine let the client go on", "ms")
		p99.AtMost = 10
		if err := b.updates(ctx, endpoints, p50, all, p99); err != nil {
			return fmt.Errorf("%d endpoints: %w", endpoints, err)
		}
		if smallest == nil {
			smallest = p50
		} else if endpoints == b.endpoints {
			b.ratio("update.growth", "median with the largest fleet / with the smallest", 1.5, 0).Add(p50.Median / smallest.Median)
		}
	}
	return nil
}

func (b *bench) updates(ctx context.Context, endpoints int, p50, all, p99 *measure.Figure) (err error) {
	defer b.rig.clear()
	p, err := b.pair()
	if err != nil {
		return err
	}
	port, err := p.server.listen(ctx, kindGreet, "0.0.0.0:0")
	if err != nil {
		return err
	}
	f := fleet{services: max(1, endpoints/serviceEndpoints), each: serviceEndpoints, port: port, swap: true}
	xds, err := serve(f)
	if err != nil {
		return err
	}
	defer xds.Stop()
	if _, err := b.start(ctx, settings{group: p.group, xds: xds.Port()}); err != nil {
		return err
	}
	if err := pause(ctx, settled); err != nil {
		return err
	}
	turn := 0
	for range b.rounds {
		var delays, calm []float64
		for range perRound {
			turn++
			delay, stalled, err := f.delay(ctx, xds, p.inside, turn)
			if err != nil {
				return errors.Join(err, xds.Failure())
			}
			delays = append(delays, delay)
			if stalled <= heldUp {
				calm = append(calm, delay)
			}
		}
		p50.Add(measure.Median(delays))
		all.Add(quantile(delays, 0.99))
		if len(calm) > 0 {
			p99.Add(quantile(calm, 0.99))
		}
	}
	return xds.Failure()
}

func quantile(v []float64, q float64) float64 {
	slices.Sort(v)
	return v[int(q*float64(len(v)-1))]
}

// delay makes a change while a client connects, and gives the milliseconds until it is obeyed, and the longest that the client
// was held up meanwhile.
func (f fleet) delay(ctx context.Context, xds *deltaxds.Server, client *child, turn int) (ms float64, stalled time.Duration, err error) {
	var out outcome
	answered := make(chan error, 1)
	want := f.swapped(turn).Addr().As4()[3]
	go func() {
		answered <- client.ask(ctx, job{Obey: &obeyed{Addr: f.service(0).String(), Want: want}}, &out)
	}()
	err = pause(ctx, beforeChange)
	sent, failed := now()
	_, unsent := xds.Push(endpointType, f.name(0), fmt.Sprint(turn), pack(f.assignment(0, turn)))
	err = errors.Join(<-answered, err, failed, unsent)
	return float64(out.Nanoseconds-sent) / 1e6, time.Duration(out.Stalled), err
}

// memory measures the kernel memory of the maps with 10,000 services, and whether connect() takes longer with them than with ten.
func (b *bench) memory(ctx context.Context) error {
	defer b.rig.clear()
	server, err := b.rig.application("", "server", plain()...)
	if err != nil {
		return err
	}
	port, err := server.listen(ctx, kindDrop, "0.0.0.0:0")
	if err != nil {
		return err
	}
	var sides []side
	var large *daemon
	for _, services := range []int{10, max(10, b.endpoints/serviceEndpoints)} {
		group, err := b.rig.group(fmt.Sprintf("services-%d", services))
		if err != nil {
			return err
		}
		client, err := b.rig.application(group, "client")
		if err != nil {
			return err
		}
		f := fleet{services: services, each: serviceEndpoints, port: port}
		xds, err := serve(f)
		if err != nil {
			return err
		}
		defer xds.Stop()
		if large, err = b.start(ctx, settings{group: group, xds: xds.Port()}); err != nil {
			return errors.Join(err, xds.Failure())
		}
		sides = append(sides, side{client, connects{Addr: f.service(0).String(), Spread: services, Times: burst}})
	}
	if err := pause(ctx, settled); err != nil {
		return err
	}
	bytes, err := large.mapMemory()
	if err != nil {
		return err
	}
	kernel := b.figure("memory.maps", fmt.Sprintf("kernel memory of all maps, %d services with 10 endpoints", b.endpoints/serviceEndpoints), "MB")
	kernel.AtMost = 40
	kernel.Add(float64(bytes) / 1e6)
	few := b.figure("memory.connect", "connect() and close(), offloaded, 10 services", "us")
	ratio := b.ratio("memory.growth", fmt.Sprintf("%d services / 10 services", b.endpoints/serviceEndpoints), 1.05, 0)
	for range b.rounds {
		times, err := takeTurns(ctx, sides...)
		if err != nil {
			return err
		}
		few.Add(times[0].all)
		ratio.Add(times[1].all / times[0].all)
	}
	return nil
}
