package upgrade

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// lasting is what /weir/interception says of what outlives weir.
type lasting struct {
	Persistence, Error string
	LostPins           uint64 `json:"lost_pins"`
}

func (r *rig) lasting(weir *harness.Weir) lasting {
	r.t.Helper()
	var page struct {
		LifeCycle lasting `json:"life_cycle"`
	}
	if err := json.Unmarshal([]byte(weir.Page("/weir/interception")), &page); err != nil {
		r.t.Fatal(err)
	}
	return page.LifeCycle
}

// TestNothingLasts has the state kept where it cannot be.
func TestNothingLasts(t *testing.T) {
	r := newRig(t)
	r.fs = "/dev/null/bpf"
	weir := r.start("ALWAYS", "required: false", false)
	if got := r.lasting(weir); got.Persistence != "ALWAYS" || !strings.Contains(got.Error, r.fs) {
		t.Errorf("it says %+v", got)
	}
	if got := r.host.App().In(r.group).Connect(harness.Connect{To: real, Send: "!", HalfClose: true}); got.Received != "weir!" {
		t.Errorf("while it runs: %+v", got)
	}
}

// TestPinsRemoved has somebody remove all pins of a weir that runs. What was to outlive it does.
func TestPinsRemoved(t *testing.T) {
	r := newRig(t)
	weir := r.start("ALWAYS", "fail_policy: CLOSED", false)
	if got := r.lasting(weir); got != (lasting{Persistence: "ALWAYS"}) {
		t.Errorf("at first it says %+v", got)
	}
	if err := os.RemoveAll(filepath.Join(r.fs, "weir", "0")); err != nil {
		t.Fatal(err)
	}
	var got lasting
	harness.Eventually(t, "weir notices", func() bool {
		got = r.lasting(weir)
		return got.LostPins > 0
	})
	if got.Error != "" {
		t.Errorf("after the pins were removed it says %+v\n%s", got, weir.Log())
	}
	weir.Stop()
	if got := r.host.App().In(r.group).Connect(harness.Connect{To: real, Send: "!", HalfClose: true}); !strings.Contains(got.Failed, "ECONNREFUSED") {
		t.Errorf("without weir: %+v, want it refused", got)
	}
	if got := r.host.App().Run(harness.Binary("weirctl"), "cleanup", "--bpf-fs", r.fs); got.Status != 0 {
		t.Errorf("cleanup: %+v", got)
	}
}

// TestInboundPinsRemoved is TestPinsRemoved for what comes in, which is kept apart.
func TestInboundPinsRemoved(t *testing.T) {
	r := newRig(t)
	in := harness.Listener{
		Name: "in", Address: "0.0.0.0:15006", OriginalDst: true, More: "traffic_direction: INBOUND",
		Chains: []string{harness.Chain(harness.TCP("backend"))},
	}
	r.conf = strings.Replace(r.conf, "listeners:\n", "listeners:\n  - "+in.YAML()+"\n", 1)
	weir := r.start("ALWAYS", "fail_policy: CLOSED", false)
	dir := filepath.Join(r.fs, "weir", "0_inbound")
	pins := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "*", "link_*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	before := pins()
	if len(before) == 0 {
		t.Fatalf("nothing is pinned in %s\n%s", dir, weir.Log())
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "weir notices", func() bool { return r.lasting(weir).LostPins == uint64(len(before)) })
	if now := pins(); !slices.Equal(now, before) {
		t.Errorf("pinned are %v, want %v", now, before)
	}
	weir.Stop()
	if got := r.host.App().Run(harness.Binary("weirctl"), "cleanup", "--bpf-fs", r.fs); got.Status != 0 {
		t.Errorf("cleanup: %+v", got)
	}
	if left := pins(); len(left) != 0 {
		t.Errorf("after cleanup there are %v", left)
	}
}
