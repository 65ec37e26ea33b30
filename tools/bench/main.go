// Bench compares the cost of proxying: weir beside nginx and haproxy, one worker each, in one run.
//
// Each scenario is one kind of work. The proxies take turns, round by round, so that a machine whose speed drifts treats
// them alike; the median of the rounds counts, and the ratio to weir. CPU time is the processes' own accounting
// (/proc/PID/stat, user and system), which is steadier than throughput on a shared machine. Results go to standard output
// as tables and, with -json, to a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	rounds   int
	duration time.Duration
	weir     string
	json     string
	only     string
}

func main() {
	var s settings
	var grpc int
	var profile string
	flag.IntVar(&s.rounds, "rounds", 5, "counted rounds of each proxy, after one that is not counted")
	flag.DurationVar(&s.duration, "duration", 3*time.Second, "length of one round, in whole seconds")
	flag.StringVar(&s.weir, "weir", "bin/weir", "the weir to measure")
	flag.StringVar(&s.json, "json", "", "write the results to this file")
	flag.StringVar(&s.only, "scenarios", "", "names of the scenarios to run, separated by commas; all when empty")
	flag.IntVar(&grpc, "grpc-backend", 0, "be the gRPC backend on this port instead")
	flag.StringVar(&profile, "profile", "", "write a CPU profile of weir under load to this file instead")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	var err error
	switch {
	case grpc != 0:
		err = serveGRPC(ctx, grpc)
	case profile != "":
		err = writeProfile(ctx, s, profile)
	default:
		err = run(ctx, s)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	chosen, err := choose(scenarios(), s.only)
	if err != nil {
		return err
	}
	var results []result
	for i := range chosen {
		r, err := runScenario(ctx, s, &chosen[i])
		if err != nil {
			return fmt.Errorf("scenario %s: %w", chosen[i].name, err)
		}
		r.print(os.Stdout)
		results = append(results, r)
	}
	if s.json != "" {
		return writeJSON(s.json, results)
	}
	return nil
}

// choose picks scenarios by name.
func choose(all []scenario, only string) ([]scenario, error) {
	if only == "" {
		return all, nil
	}
	var out []scenario
	for name := range strings.SplitSeq(only, ",") {
		before := len(out)
		for _, s := range all {
			if s.name == name {
				out = append(out, s)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("there is no scenario %q", name)
		}
	}
	return out, nil
}

// bench is one scenario under way.
type bench struct {
	settings
	scenario *scenario
	dir      string
	backend  *proxy
	proxies  []*proxy
	half     int // requests a second on each connection at half load; 0: not known yet
}

func runScenario(ctx context.Context, s settings, sc *scenario) (_ result, err error) {
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return result{}, fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	b := &bench{settings: s, scenario: sc, dir: dir}
	if err := writeFiles(dir, loadFiles(sc.shape)); err != nil {
		return result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return result{}, fmt.Errorf("find this program: %w", err)
	}
	b.backend = &proxy{name: "backend", port: backendPort, command: "nginx", setup: webBackend}
	if sc.shape.backend == "grpc" {
		b.backend.command, b.backend.setup = self, grpcBackend
	}
	for _, p := range []*proxy{
		{name: "weir", port: 19081, command: s.weir, setup: weirSetup},
		{name: "nginx", port: 19082, command: "nginx", setup: nginxSetup},
		{name: "haproxy", port: 19083, command: "haproxy", setup: haproxySetup},
	} {
		if sc.takes(p.name) {
			b.proxies = append(b.proxies, p)
		}
	}
	for _, p := range append([]*proxy{b.backend}, b.proxies...) {
		defer func() { err = errors.Join(err, p.stop()) }()
		if err := p.start(ctx, dir, sc.shape); err != nil {
			return result{}, err
		}
	}
	return b.measure(ctx)
}

// measure runs the rounds.
func (b *bench) measure(ctx context.Context) (result, error) {
	for round := range b.rounds + 1 {
		for _, p := range b.proxies {
			var v float64
			err := b.profiling(ctx, func() (err error) {
				v, err = b.scenario.load(ctx, b, p)
				return err
			})
			if err != nil {
				return result{}, fmt.Errorf("load on %s: %w", p.name, err)
			}
			if round > 0 {
				p.figures = append(p.figures, v)
			}
		}
	}
	return newResult(b), nil
}

func (b *bench) proxy(name string) *proxy {
	for _, p := range b.proxies {
		if p.name == name {
			return p
		}
	}
	return nil
}

// restart starts a proxy anew.
func (b *bench) restart(ctx context.Context, p *proxy) error {
	if err := p.stop(); err != nil {
		return err
	}
	return p.start(ctx, b.dir, b.scenario.shape)
}

// loadFiles are what the load generators read.
func loadFiles(s shape) files {
	out := files{"grpc.bin": string(append([]byte{0, 0, 0, 0, 100}, make([]byte, 100)...))}
	if s.hosts == 0 {
		return out
	}
	out["routes.lua"] = fmt.Sprintf(`local all, at = {}, 0
function init()
  for h = 0, %d do for r = 0, %d do
    all[#all + 1] = wrk.format("GET", string.format("/service%%04d/", r), {Host = string.format("host%%d.example", h)})
  end end
end
function request()
  at = (at * 1 + 1237) %% #all
  return all[at + 1]
end
`, s.hosts-1, s.routes-1)
	return out
}

// ownDir is the directory of one process, made anew for each start.
func ownDir(dir, name string) (string, error) {
	own := filepath.Join(dir, name)
	if err := os.RemoveAll(own); err != nil {
		return "", fmt.Errorf("clear directory: %w", err)
	}
	if err := os.Mkdir(own, 0o755); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	return own, os.Chmod(filepath.Dir(own), 0o755) // nginx's workers are another user
}
