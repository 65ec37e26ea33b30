package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// settle is how long weir is left alone before its memory is read: the collector gives back what the load needed.
const settle = 5 * time.Second

// perRound is how many changes a round has.
const perRound = 100

// load measures the start of weir with the whole fleet.
func (b *bench) load(ctx context.Context) error {
	f := fleet{scale: b.scale}
	size := fmt.Sprintf("%d clusters, %d endpoints, %d routes", f.clusters(), f.endpoints(), f.routes())
	cpu := b.figure("load.cpu", "initial load to ready: "+size, "s CPU", 5)
	took := b.figure("load.time", "the same, until ready", "s", 0)
	resident := b.figure("load.resident", "resident memory afterwards", "MB", 600)
	peak := b.figure("load.peak", "most resident memory meanwhile", "MB", 0)
	for range min(b.rounds, 3) {
		err := b.oneLoad(ctx, cpu, took, resident, peak)
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) oneLoad(ctx context.Context, cpu, took, resident, peak *measure.Figure) (err error) {
	w, err := b.start(fleet{scale: b.scale})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	return w.profiled(ctx, b.profile, "load", func() error {
		begin := time.Now()
		if err := w.ready(ctx); err != nil {
			return err
		}
		spent, err := w.cpu()
		if err != nil {
			return err
		}
		cpu.Add(spent.Seconds())
		took.Add(time.Since(begin).Seconds())
		if err := pause(ctx, settle); err != nil {
			return err
		}
		pid := w.process.Process.Pid
		kb, err := measure.Resident(pid)
		if err != nil {
			return err
		}
		most, err := measure.Peak(pid)
		resident.Add(float64(kb) / 1024)
		peak.Add(float64(most) / 1024)
		return err
	})
}

// updates measures the change of one resource in fleets of three sizes.
func (b *bench) updates(ctx context.Context) error {
	for _, scale := range []int{max(1, b.scale/100), max(1, b.scale/10), b.scale} {
		if err := b.updatesAt(ctx, scale); err != nil {
			return fmt.Errorf("at scale %d: %w", scale, err)
		}
	}
	return nil
}

func (b *bench) updatesAt(ctx context.Context, scale int) (err error) {
	w, err := b.running(ctx, fleet{scale: scale, large: scale == b.scale})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := pause(ctx, settle); err != nil { // the first load is over, garbage included
		return err
	}
	spent, err := w.spent(func() error { return pause(ctx, settle) })
	if err != nil {
		return err
	}
	b.figure(fmt.Sprintf("idle.%dx", scale), fmt.Sprintf("nothing changes, %d clusters", w.clusters()), "ms CPU/s", 0).
		Add(spent.Seconds() * 1000 / settle.Seconds())
	return w.profiled(ctx, b.profile, fmt.Sprintf("updates-%d", scale), func() error {
		kinds := []string{"endpoint", "route", "cluster"}
		if w.large {
			kinds = append(kinds, "large")
		}
		for _, kind := range kinds {
			title, goal := fmt.Sprintf("one %s changes, %d clusters", kind, w.clusters()), 2.0
			if kind == "large" {
				title, goal = fmt.Sprintf("one endpoint changes of a cluster with %d", largeEndpoints), 0
			}
			figure := b.figure(fmt.Sprintf("update.%s.%dx", kind, scale), title, "ms CPU", goal)
			for round := range b.rounds {
				spent, err := w.spent(func() error { return w.changes(ctx, kind, round) })
				if err != nil {
					return err
				}
				figure.Add(spent.Seconds() * 1000 / perRound)
			}
		}
		return nil
	})
}

// changes makes a round of changes, each after the one before is in force.
func (w *weir) changes(ctx context.Context, kind string, round int) error {
	for n := range perRound {
		turn := round*perRound + n + 1
		typeURL, name, body := w.changed(kind, liveClusters+turn*7, turn)
		if err := w.change(ctx, typeURL, name, fmt.Sprintf("%s-%d", kind, turn), body); err != nil {
			return err
		}
	}
	return nil
}

// changed is a resource of a kind that differs from what weir has.
func (w *weir) changed(kind string, at, turn int) (typeURL, name string, body *anypb.Any) {
	switch kind {
	case "endpoint":
		at %= w.clusters()
		return endpointType, clusterName(at), pack(w.assignment(at, turn))
	case "large":
		return endpointType, clusterName(largeCluster), pack(w.largeAssignment(turn))
	case "route":
		at %= w.listeners()
		return routeType, routesName(at), pack(w.routeConfig(at, turn))
	default:
		at %= w.clusters()
		return clusterType, clusterName(at), pack(w.cluster(at, turn))
	}
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
	if err := w.await(ctx, func() bool { _, err := requests(ctx, b.dir, w.port, time.Second); return err == nil }); err != nil {
		return err
	}
	f := b.latencies("storm", fmt.Sprintf("while %d endpoints change each second", stormRate))
	cost := b.figure("storm.cost", "CPU of weir for it, requests included", "s CPU/s", 0)
	slice := max(time.Second, b.storm/time.Duration(b.rounds))
	return w.profiled(ctx, b.profile, "storm", func() error {
		for round := range b.rounds {
			if err := f.calmly(ctx, b, w.port, slice); err != nil {
				return fmt.Errorf("while nothing changes: %w", err)
			}
			spent, err := w.spent(func() error {
				changed := make(chan error, 1)
				go func() { changed <- w.storm(ctx, slice, round) }()
				err := f.busily(ctx, b, w.port, slice)
				return errors.Join(err, <-changed)
			})
			if err != nil {
				return fmt.Errorf("while endpoints change: %w\n%s", err, w.said())
			}
			cost.Add(spent.Seconds() / slice.Seconds())
		}
		return nil
	})
}

// latencies are the figures of requests without and with something else going on, through weir and straight to the backend.
type latencies struct {
	calm, busy, ratio, control, added *measure.Figure
	// through and direct are the last round's without.
	through, direct float64
}

func (b *bench) latencies(name, with string) *latencies {
	return &latencies{
		calm:    b.figure(name+".calm", "p99 of requests before", "us", 0),
		busy:    b.figure(name+".p99", "p99 "+with, "us", 0),
		ratio:   b.figure(name+".ratio", "p99 "+with+" / before", "x", 0),
		control: b.figure(name+".control", "the same of requests that do not pass weir", "x", 0),
		added:   b.figure(name+".added", "the first / the second: what weir adds", "x", 1.1),
	}
}

// calmly measures before, busily while.
func (f *latencies) calmly(ctx context.Context, b *bench, port int, length time.Duration) (err error) {
	f.through, f.direct, err = b.pair(ctx, port, length)
	return err
}

func (f *latencies) busily(ctx context.Context, b *bench, port int, length time.Duration) error {
	through, direct, err := b.pair(ctx, port, length)
	if err != nil {
		return err
	}
	f.calm.Add(f.through)
	f.busy.Add(through)
	f.ratio.Add(through / f.through)
	f.control.Add(direct / f.direct)
	f.added.Add(through / f.through / (direct / f.direct))
	return nil
}

// storm changes endpoints at the rate, each tenth of a cluster that requests go to. It is an error when weir does not keep up.
func (w *weir) storm(ctx context.Context, length time.Duration, round int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	var last <-chan error
	for sent, total := 0, int(length.Seconds()*stormRate); sent < total; {
		for due := min(total, int(time.Since(begin).Seconds()*stormRate)); sent < due; sent++ {
			at, turn := (sent*13)%w.clusters(), round+sent/w.clusters()+1
			if sent%10 == 0 {
				at, turn = sent/10%liveClusters, sent/10/liveClusters
			}
			typeURL, name, body := w.changed("endpoint", at, turn)
			ack, err := w.push(typeURL, name, fmt.Sprintf("storm-%d-%d", round, sent), body)
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

// scrapeSlice is how long requests are measured while the page is read, and before.
const scrapeSlice = 5 * time.Second

// stats measures the page that Prometheus reads, and what reading it does to requests.
func (b *bench) stats(ctx context.Context) (err error) {
	// A fifth of the whole fleet has about 200,000 series.
	w, err := b.running(ctx, fleet{scale: max(1, b.scale/5)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	series := b.figure("stats.series", "series of /stats/prometheus", "series", 0)
	took := b.figure("stats.time", "the page, for each 200,000 series", "s", 1)
	f := b.latencies("stats", "while it is read every second")
	return w.profiled(ctx, b.profile, "stats", func() error {
		for range b.rounds {
			if err := f.calmly(ctx, b, w.port, scrapeSlice); err != nil {
				return err
			}
			page := make(chan error, 1)
			reading, stop := context.WithCancel(ctx)
			go func() { page <- w.scrape(reading, series, took) }()
			err := f.busily(ctx, b, w.port, scrapeSlice)
			stop()
			if err := errors.Join(err, <-page); err != nil {
				return err
			}
		}
		return nil
	})
}

// scrape reads the page every second until ctx ends, at least once.
func (w *weir) scrape(ctx context.Context, series, took *measure.Figure) error {
	for {
		begin := time.Now()
		text, err := w.get(context.WithoutCancel(ctx), "/stats/prometheus")
		if err != nil {
			return err
		}
		n := 0
		for line := range strings.Lines(text) {
			if line[0] != '#' {
				n++
			}
		}
		series.Add(float64(n))
		took.Add(time.Since(begin).Seconds() * 200_000 / float64(n))
		if pause(ctx, time.Second) != nil {
			return nil
		}
	}
}

// profiled does work, with the CPU profiler on when there is a directory for profiles.
func (w *weir) profiled(ctx context.Context, dir, name string, work func() error) error {
	if dir == "" {
		return work()
	}
	if err := w.await(ctx, func() bool { _, err := w.ask(ctx, "POST", "/cpuprofiler?enable=y"); return err == nil }); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	if _, err := w.ask(ctx, "POST", "/cpuprofiler?enable=n"); err != nil {
		return err
	}
	heap, err := w.get(ctx, "/heap_dump")
	if err != nil {
		return err
	}
	name += "-" + strconv.Itoa(w.process.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, name+".heap"), []byte(heap), 0o644); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	cpu, err := os.ReadFile(filepath.Join(w.dir, "profile"))
	if err != nil {
		return fmt.Errorf("read profile: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".cpu"), cpu, 0o644); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
