package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/tools/bench/measure"
)

// TestFleet checks that sizes are what the goals speak of, that all resources are valid, and that each turn changes them.
func TestFleet(t *testing.T) {
	f := fleet{scale: 100}
	if f.clusters() != 5000 || f.endpoints() != 100_000 || f.routes() != 5000 {
		t.Errorf("%d clusters, %d endpoints, %d routes", f.clusters(), f.endpoints(), f.routes())
	}
	for _, i := range []int{0, liveClusters, 99} {
		for _, pair := range [][2]proto.Message{
			{f.cluster(i, 1), f.cluster(i, 2)}, {f.assignment(i, 1), f.assignment(i, 2)}, {f.routeConfig(i, 1), f.routeConfig(i, 2)},
		} {
			if proto.Equal(pair[0], pair[1]) {
				t.Errorf("the next turn of number %d changes nothing in %T", i, pair[0])
			}
			for _, m := range pair {
				if err := m.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if err := f.listener(0).ValidateAll(); err != nil {
		t.Error(err)
	}
}

func TestReport(t *testing.T) {
	b := &bench{}
	r := b.figure("a", "what", "ms", 2)
	for _, v := range []float64{3, 1, 5} {
		r.Add(v)
	}
	b.figure("empty", "nothing", "ms", 1)
	var out strings.Builder
	measure.Print(&out, b.results)
	if r.Median != 3 || !strings.Contains(out.String(), "<= 2 !") || strings.Contains(out.String(), "empty") {
		t.Errorf("median %v\n%s", r.Median, out.String())
	}
}

func TestTake(t *testing.T) {
	names := []string{"load", "storm"}
	if take(&names, "stats") || !take(&names, "load") || len(names) != 1 || names[0] != "storm" {
		t.Errorf("left %v", names)
	}
}
