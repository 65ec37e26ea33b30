package translate

import (
	"slices"
	"strings"
	"testing"

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
		_, err := decodeInterception(&interceptionv1.Interception{Cgroups: []string{"weir.exec", name}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", name, err, want)
		}
	}
}
