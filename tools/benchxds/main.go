// Benchxds measures what configuration costs weir: the first load of a large fleet over delta ADS, the change of one resource
// in fleets of several sizes, many changes under load, and the statistics page.
//
// It starts weir beside a control plane of its own, all on loopback addresses, and reads CPU time and memory from the kernel's
// accounting of the process. Sizes and rounds of a run are measured with the same binaries one after the other; the median of
// the rounds counts. Results go to standard output as a table and, with -json, to a file. It ends by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// bench are the settings of a run, and what its scenarios share.
type bench struct {
	weir    string
	rounds  int
	scale   int
	storm   time.Duration
	dir     string
	profile string
	backend *backend
	readers time.Duration // CPU time of readers of statistics
	results []*measure.Figure
}

// scenarios by name, in the order in which they run.
var scenarios = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"load", (*bench).load},
	{"updates", (*bench).updates},
	{"storm", (*bench).stormUnderLoad},
	{"stats", (*bench).stats},
}

func main() {
	var b bench
	var json, only, serve, servers, page string
	flag.StringVar(&b.weir, "weir", "bin/weir", "the weir to measure")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of each figure")
	flag.IntVar(&b.scale, "scale", 100, "size of the largest fleet: 100 is 5,000 clusters, 100,000 endpoints and 5,000 routes")
	flag.DurationVar(&b.storm, "storm", 20*time.Second, "how long requests are measured while 1,000 endpoints change each second, or while statistics are read; as long again without, for comparison")
	flag.StringVar(&json, "json", "", "write the results to this file")
	flag.StringVar(&only, "scenarios", "", "names of the scenarios to run (load, updates, storm, stats), separated by commas; all when empty")
	flag.StringVar(&b.profile, "profile", "", "write CPU profiles of weir, and its heap after the first load, into this directory")
	flag.StringVar(&serve, "backend", "", "be the backend at this port instead")
	flag.StringVar(&servers, "requests", "", "be the one that sends requests to these servers instead")
	flag.StringVar(&page, "scrape", "", "be the one that reads this page every second instead")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	var err error
	switch {
	case serve != "":
		err = serveBackend(ctx, serve)
	case servers != "":
		err = serveRequests(servers, b.storm)
	case page != "":
		err = serveScrape(ctx, page)
	default:
		err = b.run(ctx, only, json)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchxds: %v\n", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, only, json string) (err error) {
	if b.dir, err = os.MkdirTemp("", "weir-benchxds-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := yield(); err != nil {
		return err
	}
	if b.backend, err = startBackend(ctx); err != nil {
		return err
	}
	defer b.backend.stop()
	left := strings.Split(only, ",")
	for _, s := range scenarios {
		if only != "" && !take(&left, s.name) {
			continue
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
	}
	if only != "" && len(left) > 0 {
		return fmt.Errorf("there is no scenario %q", left[0])
	}
	measure.Print(os.Stdout, b.results)
	if json != "" {
		return measure.Write(json, b.results)
	}
	return nil
}

// take removes a name from a list and tells whether it was there.
func take(names *[]string, name string) bool {
	for i, n := range *names {
		if n == name {
			*names = append((*names)[:i], (*names)[i+1:]...)
			return true
		}
	}
	return false
}
