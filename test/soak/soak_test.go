package soak

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

var (
	duration = flag.Duration("soak.duration", 10*time.Second, "how long the configuration changes, over both protocols")
	seed     = flag.Uint64("soak.seed", 0, "seed of all that is random; 0 takes one of the clock")
	verbose  = flag.Bool("soak.verbose", false, "log every change")
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// run is one weir that follows one control plane.
type run struct {
	t        *testing.T
	rng      *rand.Rand
	host     *harness.Host
	backends *backends
	control  *harness.ControlPlane
	weir     *harness.Weir
	line     *timeline
	traffic  *traffic

	now      *world
	steps    int
	slowest  time.Duration
	rejected int // rejections seen so far
	heard    int // events looked at so far
}

// While configuration changes at random, what a change does not touch never fails, and what it touches is either the old or the new.
func TestSoak(t *testing.T) {
	chosen := *seed
	if chosen == 0 {
		chosen = uint64(time.Now().UnixNano())
	}
	buildRace(t)
	for i, kind := range []string{"GRPC", "DELTA_GRPC"} {
		t.Run(kind, func(t *testing.T) {
			t.Logf("reproduce with -soak.seed=%d -soak.duration=%s", chosen, *duration)
			r := start(t, kind, rand.New(rand.NewPCG(chosen, uint64(i))))
			r.soak(*duration / 2)
		})
	}
}

// buildRace replaces the weir under test by one with the race detector, where there is a C compiler.
func buildRace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Log("without the race detector: there is no gcc")
		return
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-race", "-o", harness.Binary("weir"), "./cmd/weir")
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build weir: %v\n%s", err, out)
	}
}

func start(t *testing.T, kind string, rng *rand.Rand) *run {
	t.Helper()
	r := &run{t: t, rng: rng, host: harness.NewHost(t), line: newTimeline()}
	r.startBackends()
	r.now = newWorld(r.backends, r.backends.ca.Issue("shop.test", "extra.test"))
	r.control = r.host.ControlPlane(controlAddr)
	served, _ := r.resources(r.now)
	r.control.Set(served...)
	r.line.set(r.now.expect())
	t.Setenv("GOGC", "25") // so that what is allocated is mostly what is in use
	r.weir = r.host.StartWeir(harness.WeirOptions{
		Config: harness.Bootstrap{
			Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlAddr)), harness.HTTP2())},
			More:     harness.ADS(kind),
		}.YAML(),
		Flags: []string{"--drain-time-s", "1"},
	})
	return r
}

func (r *run) startBackends() {
	b := &backends{ca: harness.NewCA(r.t)}
	certificate := b.ca.Issue("backend.test")
	for i := range 4 {
		b.plain = append(b.plain, r.host.HTTPBackend(fmt.Sprint("plain", i), "127.0.0.1:0"))
		b.secure = append(b.secure, r.host.HTTPBackend(fmt.Sprint("secure", i), "127.0.0.1:0", harness.WithTLS(certificate.Server("h2"))))
	}
	for i := range 3 {
		b.echo = append(b.echo, r.host.TCPBackend("127.0.0.1:0", harness.Greets(greeting(i))))
	}
	r.backends = b
}

// soak changes the world for so long, between two quiet moments at the beginning and the end that are compared.
func (r *run) soak(long time.Duration) {
	first := r.now
	r.chaos(min(long/4, 10*time.Second)) // what comes into being once has come then
	before := r.quiet(first)
	r.chaos(long)
	r.quiet(first)
	r.noMoreThan(before)
	r.t.Logf("%d changes, %d rejections, slowest in force after %s; memory %d, then %d", r.steps, r.rejected, r.slowest.Round(time.Millisecond), before.allocated, r.allocated())
	if status := r.weir.Stop(); status != 0 {
		r.t.Errorf("weir ended with status %d", status)
	}
}

// chaos changes the world under traffic.
func (r *run) chaos(long time.Duration) {
	r.traffic = r.startTraffic()
	defer r.traffic.stop()
	for end := time.Now().Add(long); time.Now().Before(end) && !r.t.Failed(); {
		r.step()
	}
	if n := r.traffic.asked.Load(); n < 100 {
		r.t.Errorf("%d requests are too few for the run to mean anything", n)
	}
}

// step makes one change, or some in a burst, and waits until it is in force.
func (r *run) step() {
	worlds, moves := []*world{r.now}, ""
	for range 1 + r.rng.IntN(4)/3*2 {
		w, m := worlds[len(worlds)-1].next(r.rng)
		worlds, moves = append(worlds, w), moves+" |"+m
	}
	restart := r.rng.IntN(8) == 0
	if restart {
		moves += " | restart"
	}
	r.change(worlds, moves, restart)
}

// change serves worlds one after the other, without waiting for each, and then waits for the last.
func (r *run) change(worlds []*world, moves string, restart bool) {
	r.t.Helper()
	r.steps++
	if *verbose {
		r.t.Logf("%s step %d:%s", time.Now().Format("05.000"), r.steps, moves)
	}
	all := map[string]outcomes{}
	for i, w := range worlds {
		all = merge(all, w.expect())
		if i > 0 {
			all = merge(all, between(worlds[i-1], w))
		}
	}
	r.line.set(all)
	if restart {
		r.control.Stop()
	}
	var want wanted
	for _, w := range worlds[1:] {
		served, wanted := r.resources(w)
		r.control.Set(served...)
		want = wanted
	}
	if restart {
		r.control.Start()
	}
	r.now = worlds[len(worlds)-1]
	took, err := until(settleTime, func() error { return r.unsettled(r.now, want) })
	if err != nil {
		r.t.Fatalf("step %d:%s: not in force within %s: %v", r.steps, moves, took, err)
	}
	r.slowest = max(r.slowest, took)
	r.line.set(r.now.expect())
	if r.traffic != nil {
		r.probeNow(r.now)
	}
	r.checkRejections(worlds, moves)
}

// checkRejections fails when weir rejected what is good, or took what is bad.
func (r *run) checkRejections(worlds []*world, moves string) {
	r.t.Helper()
	var bad []string
	for _, w := range worlds {
		if w.bad != "" {
			bad = append(bad, strings.Fields(w.bad)[0])
		}
	}
	events := r.control.Events()
	for _, e := range events[r.heard:] {
		if e.Kind != controlplane.Rejected {
			continue
		}
		r.rejected++
		if !slices.Contains(bad, e.Type) {
			r.t.Errorf("step %d:%s: rejected %s: %s", r.steps, moves, e.Type, e.Err)
		}
	}
	r.heard = len(events)
	if r.now.bad == "" || r.now.bad == worlds[0].bad {
		return
	}
	kind := strings.Fields(r.now.bad)[0]
	if _, err := until(settleTime, func() error { return r.rejectedOnce(kind) }); err != nil {
		r.t.Errorf("step %d:%s: %v", r.steps, moves, err)
	}
}

func (r *run) rejectedOnce(kind string) error {
	for _, e := range r.control.Events() {
		if e.Kind == controlplane.Rejected && e.Type == kind {
			return nil
		}
	}
	return fmt.Errorf("the bad %s was not rejected", kind)
}
