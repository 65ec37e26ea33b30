package faults

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/kernel/pin"
	"github.com/weir-proxy/weir/test/harness"
)

// TestStateThatIsCorrupt kills weir and spoils what it has pinned, of connections, datagrams and what comes in alike: the next one serves
// as if there were nothing, and what was spoiled goes.
func TestStateThatIsCorrupt(t *testing.T) {
	for name, spoil := range map[string]func(version string) error{
		"of another version": func(version string) error {
			return os.Rename(version, filepath.Join(filepath.Dir(version), "0123456789ab"))
		},
		"half gone": func(version string) error {
			pins, err := filepath.Glob(filepath.Join(version, "*"))
			for n, path := range pins {
				if n%2 == 0 {
					err = errors.Join(err, os.Remove(path))
				}
			}
			return errors.Join(err, os.Mkdir(filepath.Join(filepath.Dir(version), "new_1"), 0o700))
		},
		"names exchanged": func(version string) error {
			pins, err := filepath.Glob(filepath.Join(version, "*"))
			for n := 0; n+1 < len(pins); n += 2 {
				err = errors.Join(err, os.Rename(pins[n], pins[n]+"x"), os.Rename(pins[n+1], pins[n]), os.Rename(pins[n]+"x", pins[n+1]))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newUDPRig(t, "UNTIL_STOPPED", "CLOSED")
			r.conf = strings.Replace(r.conf, "  listeners:", "  listeners:\n  - "+harness.Listener{
				Name: "virtualInbound", Address: "0.0.0.0:15006", OriginalDst: true, More: "traffic_direction: INBOUND",
				Chains: []string{harness.Chain(harness.TCP("proxied"))},
			}.YAML(), 1)
			r.interception += ", inbound: {}"
			far := harness.NewHost(t)
			harness.Link(r.host, far, "192.0.2.0/30")
			greet(t, r.host, r.host.App().In(r.group), 8080)
			look := func(when string) {
				t.Helper()
				if got := r.greetings(); got != [2]string{"weir!", "direct!"} {
					t.Errorf("%s: greetings %q", when, got)
				}
				wantDatagrams(t, when, r.host.App().In(r.group), "weir")
				wantComing(t, when, far, map[int]string{8080: "weir"})
			}
			r.start(true).Kill()
			states, err := pin.List(r.fs)
			if err != nil || len(states) != 3 {
				t.Fatalf("pinned: %+v (%v), want connections, datagrams and what comes in", states, err)
			}
			for _, s := range states {
				for _, v := range s.Versions {
					if err := spoil(filepath.Join(s.Dir, v.Layout)); err != nil {
						t.Fatal(err)
					}
				}
			}
			weir := r.start(true)
			look("with the next one")
			second := r.startNext(1)
			weir.Wait()
			look("after an upgrade")
			second.Stop()
			if states, err := pin.List(r.fs); len(states) > 0 || err != nil {
				t.Errorf("pinned after an ordered stop: %+v (%v)", states, err)
			}
		})
	}
}
