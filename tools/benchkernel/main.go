// Benchkernel measures what weir's kernel side costs and gains: connect() that is left alone, offloaded or captured, bulk and
// HTTP with and without acceleration, how soon a connection obeys a change of endpoints, and the memory of the maps.
//
// Applications are processes of this program in cgroups that it makes, on loopback addresses of this host; weir is started and
// stopped as a scenario needs it, with nothing of the host captured. What is compared takes turns, so that what the machine does
// meanwhile happens to both; the median of the rounds counts. Results go to standard output as a table and, with -json, to a
// file. It ends by itself, and takes away what it made when it is interrupted, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// bench are the settings of a run, and what its scenarios share.
type bench struct {
	weir      string
	rounds    int
	endpoints int
	dir       string
	keep      bool
	// weirs counts those of the run: each has a base id of its own.
	weirs   int
	rig     *rig
	results []*measure.Figure
	notes   []string
}

// scenarios by name, in the order in which they run.
var scenarios = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"uncaptured", (*bench).uncaptured},
	{"offload", (*bench).offload},
	{"first-byte", (*bench).firstByte},
	{"bulk", (*bench).bulk},
	{"http", (*bench).http},
	{"update", (*bench).update},
	{"memory", (*bench).memory},
}

func names() string {
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	return strings.Join(all, ", ")
}

func main() {
	var b bench
	var json, only, role string
	flag.StringVar(&b.weir, "weir", "bin/weir", "the weir to measure")
	flag.IntVar(&b.rounds, "rounds", 7, "rounds of each figure")
	flag.IntVar(&b.endpoints, "endpoints", 100_000, "endpoints of the largest fleet, and of the one whose memory is measured")
	flag.StringVar(&json, "json", "", "write the results to this file")
	flag.StringVar(&only, "scenarios", "", "names of the scenarios to run ("+names()+"), separated by commas; all when empty")
	flag.BoolVar(&b.keep, "keep", false, "keep the directory of configurations and logs, and say where it is")
	flag.StringVar(&role, "role", "", "be an application of the bench instead: client or server, driven by standard input")
	flag.Parse()
	var err error
	switch role {
	case "":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		err = b.run(ctx, only, json)
		stop()
	case "client":
		err = beClient(os.Stdin, os.Stdout)
	case "server":
		err = beServer(os.Stdin, os.Stdout, rawAccept)
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchkernel: %v\n", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, only, json string) (err error) {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "weir-benchkernel-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if b.keep {
		fmt.Fprintf(os.Stderr, "benchkernel: keeps %s\n", b.dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	}
	if b.rig, err = newRig(b.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.rig.close()) }()
	for _, s := range scenarios {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
	}
	b.print(os.Stdout)
	if json != "" {
		return measure.Write(json, b.results)
	}
	return nil
}

// choose gives the scenarios that a list names; all when it is empty.
func choose(list string) ([]string, error) {
	var known, chosen []string
	for _, s := range scenarios {
		known = append(known, s.name)
	}
	if list == "" {
		return known, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no scenario %q", name)
		}
		chosen = append(chosen, name)
	}
	return chosen, nil
}
