package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
		if err := w.Change(ctx, typeURL, name, fmt.Sprintf("%s-%d", kind, turn), body); err != nil {
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

// profiled does work, with the CPU profiler on when there is a directory for profiles.
func (w *weir) profiled(ctx context.Context, dir, name string, work func() error) error {
	if dir == "" {
		return work()
	}
	if err := w.await(ctx, func() bool { _, err := w.ask(ctx, "POST", "/cpuprofiler?enable=y"); return err == nil }); err != nil {
		return err
	}
	name += "-" + strconv.Itoa(w.process.Process.Pid)
	if err := w.heap(ctx, filepath.Join(dir, name+".before.heap")); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	if _, err := w.ask(ctx, "POST", "/cpuprofiler?enable=n"); err != nil {
		return err
	}
	if err := w.heap(ctx, filepath.Join(dir, name+".heap")); err != nil {
		return err
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

// heap writes a profile of what is allocated into a file.
func (w *weir) heap(ctx context.Context, file string) error {
	heap, err := w.get(ctx, "/heap_dump")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(heap), 0o644); err != nil {
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
