package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/test/harness"
)

// realCgroup makes a cgroup of the name that a container runtime or systemd would give it, and the ones above it that are missing.
// What was made is removed with the test.
func realCgroup(t *testing.T, h *cgroup.Hierarchy, name string) *harness.Cgroup {
	t.Helper()
	elements := strings.Split(name, "/")
	var dir string
	for n := range elements {
		made, created, err := h.Create(strings.Join(elements[:n+1], "/"))
		if err != nil {
			t.Fatal(err)
		}
		if created {
			t.Cleanup(func() {
				for deadline := time.Now().Add(harness.Patience); ; {
					err := h.Remove(made)
					if err == nil {
						return
					}
					if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
						t.Error(err)
						return
					}
				}
			})
		}
		dir = made
	}
	return &harness.Cgroup{Dir: dir, Name: "/" + name}
}

// TestExamples runs the bootstraps of the examples as they are. Processes in cgroups with the names of the real world, each in a
// network namespace of its own, are captured, and others are not.
func TestExamples(t *testing.T) {
	harness.NeedInterception(t)
	id := fmt.Sprintf("%x", os.Getpid())
	for _, test := range []struct {
		example        string
		captured, free []string
	}{
		{
			"kubernetes",
			[]string{
				"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + id + ".slice/cri-containerd-" + id + ".scope",
				"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + id + ".slice/crio-" + id + ".scope",
				"kubepods.slice/kubepods-pod" + id + ".slice/cri-containerd-" + id + ".scope",
				"kubepods/burstable/pod" + id + "/" + id,
			},
			[]string{"system.slice/weir-kubelet-" + id + ".service"},
		},
		{
			"docker",
			[]string{"system.slice/docker-" + id + ".scope", "docker/" + id},
			[]string{"system.slice/weir-docker-" + id + ".service", "user.slice/user-" + id + ".slice/session-1.scope"},
		},
		{
			"systemd",
			[]string{"system.slice/shop.service", "system.slice/system-shop.slice/shop@" + id + ".service"},
			[]string{"system.slice/shopping-" + id + ".service"},
		},
	} {
		t.Run(test.example, func(t *testing.T) { runExample(t, test.example, test.captured, test.free) })
	}
}

func runExample(t *testing.T, example string, captured, free []string) {
	t.Helper()
	h, err := cgroup.Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range captured {
		if top, _, _ := strings.Cut(name, "/"); top != "system.slice" {
			if _, err := os.Stat(filepath.Join(h.Root(), top)); err == nil {
				t.Skipf("this host has a cgroup %s, whose processes are none of the test's", top)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", example, "weir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	node := harness.NewHost(t)
	weir := node.StartWeir(harness.WeirOptions{Config: string(text), Bare: true})
	passed := func() int {
		resp, err := node.Client().Get("http://127.0.0.1:15000/stats?filter=cluster.original_destination.upstream_cx_total")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscanf(string(body), "cluster.original_destination.upstream_cx_total: %d", &n); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		return n
	}
	connect := func(name string, wait time.Duration) (fromWeir int) {
		p := &pod{Host: harness.NewHost(t).AddAddress("10.50.0.1"), group: realCgroup(t, h, name)}
		p.TCPBackend("10.50.0.1:7000", harness.Greets(name))
		p.app = p.App().In(p.group)
		p.pause = p.app.Start("sleep", "1000")
		defer p.end()
		before := passed()
		for deadline := time.Now().Add(wait); passed() == before && time.Now().Before(deadline); {
			if got := p.app.Connect(harness.Connect{To: "10.50.0.1:7000", HalfClose: true}); got.Received != name {
				t.Fatalf("%s: %+v", name, got)
			}
		}
		return passed() - before
	}
	for _, name := range captured {
		if connect(name, harness.Patience) == 0 {
			t.Errorf("%s was not captured\n%s", name, weir.Log())
		}
	}
	for _, name := range free {
		if n := connect(name, 2*time.Second); n != 0 {
			t.Errorf("%s was captured", name)
		}
	}
}
