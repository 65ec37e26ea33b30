// Bench measures the CPU time that HTTP/1.1 proxying costs per request: weir beside nginx and haproxy, in one run.
//
// Each proxy forwards 1 KB responses from the same nginx backend over keep-alive connections on loopback. The proxies take
// turns, round by round, so that a machine whose speed drifts treats them alike; medians are printed, and the ratio to weir.
// CPU time is the processes' own accounting (/proc/PID/stat, user and system), which is steadier than throughput on a
// shared machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	rounds      int
	duration    time.Duration
	connections int
	weir        string
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 5, "counted rounds of each proxy, after one that is not counted")
	flag.DurationVar(&s.duration, "duration", 3*time.Second, "length of one round")
	flag.IntVar(&s.connections, "connections", 64, "keep-alive connections of the load")
	flag.StringVar(&s.weir, "weir", "bin/weir", "the weir to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, s)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	backend := &proxy{name: "backend", port: 19080, command: []string{"nginx"}, config: backendConfig}
	proxies := []*proxy{
		{name: "weir", port: 19081, command: []string{s.weir}, config: weirConfig},
		{name: "nginx", port: 19082, command: []string{"nginx"}, config: nginxConfig},
		{name: "haproxy", port: 19083, command: []string{"haproxy"}, config: haproxyConfig},
	}
	for _, p := range append([]*proxy{backend}, proxies...) {
		if err := p.start(ctx, dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
	}
	for round := range s.rounds + 1 {
		for _, p := range proxies {
			m, err := measure(ctx, p, s)
			if err != nil {
				return fmt.Errorf("load on %s: %w", p.name, err)
			}
			if round > 0 {
				p.measured = append(p.measured, m)
			}
		}
	}
	report(proxies, s)
	return nil
}

// measurement is one round of one proxy.
type measurement struct {
	cpuPerRequest time.Duration
	perSecond     float64
}

func measure(ctx context.Context, p *proxy, s settings) (measurement, error) {
	before, err := p.cpu()
	if err != nil {
		return measurement{}, err
	}
	load := exec.CommandContext(ctx, "wrk", "-t", "1", "-c", fmt.Sprint(s.connections), "-d", fmt.Sprintf("%ds", int(s.duration.Seconds())),
		fmt.Sprintf("http://127.0.0.1:%d/", p.port))
	out, err := load.CombinedOutput()
	if err != nil {
		return measurement{}, fmt.Errorf("run wrk: %w: %s", err, out)
	}
	requests, seconds, err := parseWrk(string(out))
	if err != nil {
		return measurement{}, err
	}
	after, err := p.cpu()
	if err != nil {
		return measurement{}, err
	}
	return measurement{(after - before) / time.Duration(requests), float64(requests) / seconds}, nil
}

func report(proxies []*proxy, s settings) {
	fmt.Printf("HTTP/1.1, 1 KB responses, %d keep-alive connections, %d rounds of %s each, alternating\n\n", s.connections, s.rounds, s.duration)
	fmt.Printf("%-10s %14s %24s %14s %12s\n", "proxy", "CPU/request", "min .. max", "requests/s", "CPU ratio")
	base := proxies[0].median()
	for _, p := range proxies {
		m := p.median()
		low := slices.MinFunc(p.measured, byCPU).cpuPerRequest
		high := slices.MaxFunc(p.measured, byCPU).cpuPerRequest
		fmt.Printf("%-10s %11.2f us %11.2f .. %7.2f us %14.0f %12.2f\n", p.name, micros(m.cpuPerRequest), micros(low), micros(high), m.perSecond,
			micros(m.cpuPerRequest)/micros(base.cpuPerRequest))
	}
	fmt.Printf("\nThe ratio is to weir's median: above 1 costs more than weir.\n")
}

func byCPU(a, b measurement) int { return int(a.cpuPerRequest - b.cpuPerRequest) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median of the rounds by CPU time, with the median throughput.
func (p *proxy) median() measurement {
	m := slices.Clone(p.measured)
	slices.SortFunc(m, byCPU)
	cpu := m[len(m)/2].cpuPerRequest
	slices.SortFunc(m, func(a, b measurement) int { return int(a.perSecond - b.perSecond) })
	return measurement{cpu, m[len(m)/2].perSecond}
}

// writeFile puts a proxy's configuration in place.
func writeFile(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}
