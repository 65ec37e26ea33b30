package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// bulkSize is the size of a bulk response.
const bulkSize = 10 << 20

// withCPU runs work on a proxy and returns the CPU time that the proxy spent meanwhile.
func withCPU(p *proxy, work func() error) (time.Duration, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if err := work(); err != nil {
		return 0, err
	}
	after, err := p.cpu()
	return after - before, err
}

// wrkLoad is HTTP/1.1 keep-alive load. script, if any, is a file in the bench's directory.
func wrkLoad(script, path string) func(context.Context, *bench, *proxy) (float64, error) {
	return func(ctx context.Context, b *bench, p *proxy) (float64, error) {
		args := []string{}
		if script != "" {
			args = append(args, "-s", filepath.Join(b.dir, script))
		}
		requests := 0
		cpu, err := withCPU(p, func() (err error) {
			requests, err = b.wrk(ctx, 64, b.scenario.url(p, path), args...)
			return err
		})
		if err != nil {
			return 0, err
		}
		return perRequest(cpu, requests), nil
	}
}

func bulkLoad(ctx context.Context, b *bench, p *proxy) (float64, error) {
	requests := 0
	cpu, err := withCPU(p, func() (err error) {
		requests, err = b.wrk(ctx, 8, b.scenario.url(p, "/bulk"))
		return err
	})
	if err != nil {
		return 0, err
	}
	return float64(requests) * bulkSize / (1 << 20) / cpu.Seconds(), nil
}

// wrk runs the load generator and returns the number of good responses.
func (b *bench) wrk(ctx context.Context, connections int, url string, more ...string) (int, error) {
	args := append([]string{"-t", "1", "-c", fmt.Sprint(connections), "-d", fmt.Sprintf("%ds", int(b.duration.Seconds()))}, more...)
	out, err := exec.CommandContext(ctx, "wrk", append(args, url)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run wrk: %w: %s", err, out)
	}
	return parseWrk(string(out))
}

var wrkLine = regexp.MustCompile(`(\d+) requests in ([\d.]+)s`)

// parseWrk reads the number of requests from wrk's report, and refuses one with errors in it.
func parseWrk(out string) (requests int, err error) {
	if strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
		return 0, fmt.Errorf("requests failed: %s", out)
	}
	m := wrkLine.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk's report is not understood: %s", out)
	}
	if requests, err = strconv.Atoi(m[1]); err != nil || requests == 0 {
		return 0, fmt.Errorf("wrk's report has no requests: %s", out)
	}
	return requests, nil
}

// h2Load is HTTP/2 load: 8 connections of 32 streams.
func h2Load(path string, more ...string) func(context.Context, *bench, *proxy) (float64, error) {
	return func(ctx context.Context, b *bench, p *proxy) (float64, error) {
		requests := 0
		cpu, err := withCPU(p, func() (err error) {
			requests, err = b.h2load(ctx, append([]string{"-c", "8", "-m", "32", "-D", fmt.Sprint(b.duration.Seconds())}, more...), b.scenario.url(p, path))
			return err
		})
		if err != nil {
			return 0, err
		}
		return perRequest(cpu, requests), nil
	}
}

// h2load runs the load generator in the bench's directory and returns the number of good responses.
func (b *bench) h2load(ctx context.Context, args []string, url string) (int, error) {
	c := exec.CommandContext(ctx, "h2load", append(args, url)...)
	c.Dir = b.dir
	out, err := c.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("run h2load: %w: %s", err, out)
	}
	return measure.H2load(string(out))
}

// latencyLoad offers half of the rate that nginx sustained, evenly spaced, and returns the 99th percentile of what the proxy
// adds to the backend's own latency.
func latencyLoad(ctx context.Context, b *bench, p *proxy) (float64, error) {
	if b.half == 0 {
		requests, err := b.wrk(ctx, 64, b.scenario.url(b.proxy("nginx"), "/"))
		if err != nil {
			return 0, err
		}
		b.half = max(1, int(float64(requests)/b.duration.Seconds()/2/64))
	}
	direct, err := b.percentile(ctx, b.scenario.url(b.backend, "/"))
	if err != nil {
		return 0, err
	}
	through, err := b.percentile(ctx, b.scenario.url(p, "/"))
	if err != nil {
		return 0, err
	}
	return through - direct, nil
}

// percentile is the 99th percentile in microseconds at b.half requests a second on each of 64 connections.
func (b *bench) percentile(ctx context.Context, url string) (float64, error) {
	log := filepath.Join(b.dir, "latency.log")
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("clear latency log: %w", err)
	}
	_, err := b.h2load(ctx, []string{"--h1", "-c", "64", "--rps", fmt.Sprint(b.half), "-D", fmt.Sprint(b.duration.Seconds()), "--log-file=" + log}, url)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, fmt.Errorf("read latency log: %w", err)
	}
	return measure.Quantile(string(text), 0.99)
}
