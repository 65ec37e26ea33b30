package main

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

func TestGoals(t *testing.T) {
	b := &bench{}
	b.ratio("low", "a cost", 1.1, 0).Add(1.2)
	b.ratio("high", "a gain", 0, 2).Add(1.9)
	reached := b.ratio("reached", "a gain", 0, 2)
	for _, v := range []float64{3, 1, 5} {
		reached.Add(v)
	}
	b.figure("empty", "nothing", "ms")
	b.note("a mode: no")
	var out strings.Builder
	b.print(&out)
	for _, want := range []string{"<= 1.1 !", ">= 2 !", ">= 2  ", "3.000 x", "not available: a mode: no"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "empty") {
		t.Errorf("the report has a figure without rounds:\n%s", out.String())
	}
}

func TestChoose(t *testing.T) {
	if got, err := choose("bulk,memory"); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := choose(""); err != nil || len(got) != len(scenarios) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := choose("bulk,none"); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("an unknown scenario gives %v", err)
	}
}

// TestFleet checks that resources are valid, that services and endpoints have addresses of their own, and that a turn changes
// the endpoint.
func TestFleet(t *testing.T) {
	f := fleet{services: 10_000, each: 10, port: 8080, swap: true}
	for _, m := range []interface{ ValidateAll() error }{f.cluster(9999), f.assignment(9999, 0), f.assignment(0, 1), f.listener(9999)} {
		if err := m.ValidateAll(); err != nil {
			t.Error(err)
		}
	}
	if got, want := f.service(9999), netip.MustParseAddrPort("10.96.39.15:80"); got != want {
		t.Errorf("service is at %v, want %v", got, want)
	}
	if got, want := f.endpoint(9999, 9), netip.MustParseAddrPort("127.2.134.159:8080"); got != want {
		t.Errorf("endpoint is at %v, want %v", got, want)
	}
	if proto.Equal(f.assignment(0, 1), f.assignment(0, 2)) || !proto.Equal(f.assignment(0, 1), f.assignment(0, 3)) {
		t.Error("turns do not swap the endpoint")
	}
}

// TestApplications runs jobs of all kinds between a client and servers in this process.
func TestApplications(t *testing.T) {
	asks, questions := io.Pipe()
	answers, says := io.Pipe()
	ended := make(chan error, 1)
	// The process has other goroutines, which a call that the scheduler does not know of may hold up for ever.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	accept := func(fd int) (int, error) {
		c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		return c, err
	}
	go func() { ended <- beServer(asks, says, accept) }()
	server := &child{in: questions, out: bufio.NewScanner(answers)}
	t.Cleanup(func() {
		questions.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	at := func(kind string) string {
		port, err := server.listen(t.Context(), kind, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)).String()
	}
	greet, bulk := at(kindGreet), at(kindBulk)
	for _, test := range []struct {
		name string
		run  func() (*outcome, error)
	}{
		{"drop", (&connects{Addr: at(kindDrop), Times: 3}).run},
		{"greeted", (&connects{Addr: greet, Times: 100, Greeted: true}).run},
		{"download", (&transfer{Addr: bulk, Bytes: 1_000_000}).run},
		{"upload", (&transfer{Addr: bulk, Bytes: 1_000_000, Send: true}).run},
		{"requests", (&requests{Addr: at(kindHTTP), Connections: 2, Milliseconds: 20}).run},
		{"obeyed", (&obeyed{Addr: greet, Want: 1}).run},
	} {
		got, err := test.run()
		if err != nil || (got.Nanoseconds <= 0 && got.Done == 0) {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
	if _, err := server.listen(t.Context(), "none", "127.0.0.1:0"); err == nil {
		t.Error("a server of no kind listens")
	}
}

// TestRigLeavesNothing makes a cgroup with a process in it and takes both away.
func TestRigLeavesNothing(t *testing.T) {
	r, err := newRig(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	group, err := r.group("test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.spawn(program{group: group, name: "sleep", command: "sleep", args: []string{"60"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(r.hierarchy.Root(), group)
	if procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || len(procs) == 0 {
		t.Errorf("the process is not in its cgroup: %q, %v", procs, err)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the cgroup is still there: %v", err)
	}
	if c.cmd.ProcessState == nil {
		t.Error("the process has not ended")
	}
}
