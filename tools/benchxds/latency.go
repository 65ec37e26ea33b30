package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// How what weir does beside requests is measured by its effect on their latency: in short slices, now with it and now without, so
// that what else changes on the machine meanwhile meets both alike. What counts is the 99th percentile of all requests of all slices
// of a kind together: a thing that seldom happens and takes long, such as a collection of garbage every few slices, has
// its share in that, while a median of the slices would hide it. The slices on their own only show how far they lie apart.
//
// Between the slices of a kind lies a rest, so that none pays for the one before. A pair of slices during which something else than
// the bench ran is measured once more, and counts as it is after so many attempts.
const (
	slice    = 5 * time.Second
	rest     = 300 * time.Millisecond
	attempts = 3
)

// latencies are the figures of requests without and with something else going on, through weir and straight to the backend.
type latencies struct {
	calm, busy, ratio, control, added, slices, foreign *measure.Figure
	without, with                                      sample
}

func (b *bench) latencies(name, with string) *latencies {
	return &latencies{
		calm:    b.figure(name+".calm", "p99 of requests without", "us", 0),
		busy:    b.figure(name+".p99", "p99 "+with, "us", 0),
		ratio:   b.figure(name+".ratio", "p99 "+with+" / without", "x", 0),
		control: b.figure(name+".control", "the same of requests that do not pass weir", "x", 0),
		added:   b.figure(name+".added", "the first / the second: what weir adds", "x", 1.1),
		slices:  b.figure(name+".slices", "the same of each pair of slices on its own", "x", 0),
		foreign: b.figure(name+".foreign", "of a core, spent by others than the bench", "%", 0),
	}
}

// pair measures a slice without and a slice with something else going on.
func (f *latencies) pair(ctx context.Context, b *bench, w *weir, busy func(measure func() error) error) error {
	for attempt := 1; ; attempt++ {
		before, err := b.usage(w)
		if err != nil {
			return err
		}
		without, with, err := b.slices(ctx, w, busy)
		if err != nil {
			return err
		}
		after, err := b.usage(w)
		if err != nil {
			return err
		}
		if share := after.foreign(before); share <= foreignMost || attempt == attempts {
			f.foreign.Add(share * 100)
			f.slices.Add(added(without, with))
			f.without.add(without)
			f.with.add(with)
			return nil
		}
	}
}

func (b *bench) slices(ctx context.Context, w *weir, busy func(measure func() error) error) (without, with sample, err error) {
	without, err = b.requests(ctx, w.port, slice)
	if err != nil {
		return without, with, fmt.Errorf("while nothing else happens: %w", err)
	}
	if err := pause(ctx, rest); err != nil {
		return without, with, err
	}
	err = busy(func() (err error) { with, err = b.requests(ctx, w.port, slice); return err })
	return without, with, errors.Join(err, pause(ctx, rest))
}

// done reckons the figures from all slices.
func (f *latencies) done() {
	f.calm.Add(p99(f.without.through))
	f.busy.Add(p99(f.with.through))
	f.ratio.Add(p99(f.with.through) / p99(f.without.through))
	f.control.Add(p99(f.with.direct) / p99(f.without.direct))
	f.added.Add(added(f.without, f.with))
}

func added(without, with sample) float64 {
	return p99(with.through) / p99(without.through) / (p99(with.direct) / p99(without.direct))
}

func (s *sample) add(more sample) {
	s.through = append(s.through, more.through...)
	s.direct = append(s.direct, more.direct...)
}

func p99(us []uint32) float64 {
	s := slices.Sorted(slices.Values(us))
	return float64(s[len(s)*99/100])
}

// stormRate is how many endpoints change a second.
const stormRate = 1000

// stormUnderLoad measures requests while endpoints change all the time, those of the requests' clusters among them.
func (b *bench) stormUnderLoad(ctx context.Context) (err error) {
	w, err := b.running(ctx, fleet{scale: b.scale})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := b.warm(ctx, w); err != nil {
		return err
	}
	f := b.latencies("storm", fmt.Sprintf("while %d endpoints change each second", stormRate))
	cost := b.figure("storm.cost", "CPU of weir for it, requests included", "s CPU/s", 0)
	sent := 0
	// The control plane's own garbage is not what is measured.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	return w.profiled(ctx, b.profile, "storm", func() error {
		for range max(1, int(b.storm/slice)) {
			err := f.pair(ctx, b, w, func(measure func() error) error {
				changes := w.changesAhead(sent, int(slice.Seconds()*stormRate))
				sent += len(changes)
				runtime.GC()
				spent, err := w.spent(func() error {
					changed := make(chan error, 1)
					go func() { changed <- w.storm(ctx, changes) }()
					return errors.Join(measure(), <-changed)
				})
				cost.Add(spent.Seconds() / slice.Seconds())
				return err
			})
			if err != nil {
				return fmt.Errorf("%w\n%s", err, w.said())
			}
		}
		f.done()
		return nil
	})
}

// warm loads weir until its connections and buffers are there.
func (b *bench) warm(ctx context.Context, w *weir) error {
	if err := w.await(ctx, func() bool { _, err := b.requests(ctx, w.port, time.Second); return err == nil }); err != nil {
		return err
	}
	return pause(ctx, settle)
}

// resource is a changed resource, ready to be sent.
type resource struct {
	typeURL, name, version string
	body                   *anypb.Any
}

// changesAhead are changes of endpoints after so many, each tenth of a cluster that requests go to. They are made before anything is
// measured, so that making them takes no time from weir.
func (w *weir) changesAhead(after, total int) []resource {
	out := make([]resource, total)
	for i := range out {
		n := after + i
		at, turn := (n*13)%w.clusters(), n/w.clusters()+1
		if n%10 == 0 {
			at, turn = n/10%liveClusters, n/10/liveClusters
		}
		r := &out[i]
		r.typeURL, r.name, r.body = w.changed("endpoint", at, turn)
		r.version = fmt.Sprintf("storm-%d", n)
	}
	return out
}

// storm sends changes at the rate. It is an error when weir does not keep up.
func (w *weir) storm(ctx context.Context, changes []resource) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	var last <-chan error
	for sent := 0; sent < len(changes); {
		for due := min(len(changes), int(time.Since(begin).Seconds()*stormRate)); sent < due; sent++ {
			c := &changes[sent]
			ack, err := w.Push(c.typeURL, c.name, c.version, c.body)
			if err != nil {
				return err
			}
			last = ack
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	select {
	case err := <-last:
		return err
	case <-time.After(2 * time.Second):
		return errors.New("weir does not keep up with the changes")
	case <-ctx.Done():
		return ctx.Err()
	}
}
