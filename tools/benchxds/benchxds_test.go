package main

import (
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

func TestAnswered(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n"
	for _, c := range []struct {
		name, got  string
		whole, bad bool
	}{
		{"nothing yet", "", false, false},
		{"part of the head", head, false, false},
		{"part of the body", head + "\r\nhel", false, false},
		{"all", head + "\r\n" + backendText, true, false},
		{"more than all", head + "\r\n" + backendText + "x", false, true},
		{"an error", "HTTP/1.1 503 Service Unavailable\r\n\r\n", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if whole, err := answered([]byte(c.got)); whole != c.whole || (err != nil) != c.bad {
				t.Errorf("whole %v, error %v", whole, err)
			}
		})
	}
}

func TestAdded(t *testing.T) {
	of := func(slow uint32) (us []uint32) {
		for range 1000 {
			us = append(us, 100)
		}
		for i := range 20 {
			us[i*50] = slow
		}
		return us
	}
	if got := added(sample{of(200), of(200)}, sample{of(900), of(300)}); got != 3 {
		t.Errorf("added %v, want 900/200 in comparison with 300/200: 3", got)
	}
}

func TestForeign(t *testing.T) {
	was := usage{at: time.Now()}
	all := 2 * time.Second * time.Duration(runtime.NumCPU())
	now := usage{at: was.at.Add(2 * time.Second), idle: all - time.Second, own: 800 * time.Millisecond}
	if got := now.foreign(was); math.Abs(got-0.1) > 1e-9 {
		t.Errorf("%v of a core, want 0.1: 0.2 s in 2", got)
	}
}

// TestRequests has the generator load a backend: no more requests than are due, all answered.
func TestRequests(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(backendText)) }))
	t.Cleanup(server.Close)
	r := &requester{conns: make(map[int32]*client), random: rand.New(rand.NewPCG(1, 2))}
	if err := r.open([]string{server.Listener.Addr().String()}, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := r.run(200 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if n := len(r.targets[0].took); n < perSecond/10 || n > perSecond*3/10 {
		t.Errorf("%d requests in a fifth of a second, want about %d", n, perSecond/5)
	}
	for _, c := range r.conns {
		if err := unix.Close(c.fd); err != nil {
			t.Error(err)
		}
	}
}
