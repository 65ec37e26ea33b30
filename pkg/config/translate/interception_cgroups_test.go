package translate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	interceptionv1 "github.com/weir-proxy/weir/pkg/api/weir/interception/v1"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestInterceptionCgroups finds wrong names before anything is captured by them, and says which one it is.
func TestInterceptionCgroups(t *testing.T) {
	good := []string{"/", "system.slice/shop-*.service", "kubepods.slice/**/cri-containerd-*.scope", "weir.exec", "/a/"}
	got, err := decodeInterception(&interceptionv1.Interception{Cgroups: good})
	if err != nil {
		t.Fatal(err)
	}
	if i := got.(*model.Interception); !slices.Equal(i.Cgroups, good) {
		t.Errorf("cgroups %q", i.Cgroups)
	}
	for name, want := range map[string]string{
		"": `cgroups[1]: is empty; "/" is all of the host`, "../a": `cgroups[1]: "../a" must not contain ".."`, "a/[": `cgroups[1]: "a/[" is no glob`,
	} {
		names := []string{"weir.exec", name}
		_, err := decodeInterception(&interceptionv1.Interception{
			Cgroups: names, Events: &interceptionv1.Events{Cgroups: names},
			Acceleration: &interceptionv1.Acceleration{Mode: interceptionv1.Acceleration_RECEIVE, Applications: names},
		})
		for _, want := range []string{want, "events." + want, "acceleration.applications" + strings.TrimPrefix(want, "cgroups")} {
			if err == nil || !strings.Contains("\n"+err.Error()+"\n", "\n"+want) {
				t.Errorf("%q: error %v, want %s", name, err, want)
			}
		}
	}
}

// TestInterceptionErrors are reported all at once.
func TestInterceptionErrors(t *testing.T) {
	bad := &interceptionv1.Range{Prefix: "fe80::1%eth0", Ports: []uint32{0, 443, 65536}}
	_, err := decodeInterception(&interceptionv1.Interception{
		Include: []*interceptionv1.Range{{}, bad}, Inbound: &interceptionv1.Inbound{Exclude: []*interceptionv1.Range{bad}},
		Namespaces: &interceptionv1.Namespaces{Paths: []string{"shop", "/run/netns/*", "/run/["}},
		Udp:        &interceptionv1.Udp{Rules: []*interceptionv1.Udp_Rule{{Prefix: bad.Prefix, Ports: bad.Ports}}},
		Events:     &interceptionv1.Events{Destinations: []string{bad.Prefix}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{`events.destinations[0]: "fe80::1%eth0" must not have a zone: destinations are not told apart by it`}
	for _, path := range []string{"include[1]", "inbound.exclude[0]", "udp.rules[0]"} {
		want = append(want, path+`.prefix: "fe80::1%eth0" must not have a zone: destinations are not told apart by it`,
			path+`.ports[0]: port 0 is not between 1 and 65535`, path+`.ports[2]: port 65536 is not between 1 and 65535`)
	}
	want = append(want, `namespaces.paths[0]: "shop" is not an absolute path`, `namespaces.paths[2]: "/run/[": syntax error in pattern`)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
