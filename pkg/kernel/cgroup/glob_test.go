package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The names that container runtimes give to cgroups, below the root of cgroup v2.
const (
	burstable  = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7f2c.slice"
	guaranteed = "kubepods.slice/kubepods-pod11aa.slice"
	driverless = "kubepods/burstable/pod7f2c-11ee"
)

var realNames = []string{
	burstable + "/cri-containerd-0a1b.scope", burstable + "/cri-containerd-2c3d.scope", burstable + "/crio-4e5f.scope",
	burstable + "/crio-conmon-4e5f.scope", guaranteed + "/cri-containerd-6a7b.scope",
	driverless + "/8c9d", "kubepods/pod22bb/aeaf",
	"system.slice/docker-0123.scope", "system.slice/shop.service", "system.slice/containerd.service", "docker/4567",
	"user.slice/user-1000.slice/user@1000.service/app.slice/app-shell.scope", "init.scope",
}

func TestRealNames(t *testing.T) {
	h := tree(t, realNames...)
	for _, test := range []struct {
		name, pattern string
		want          []string
	}{
		{"all pods, systemd driver", "kubepods.slice", []string{"/kubepods.slice"}},
		{"all pods, cgroupfs driver", "kubepods", []string{"/kubepods"}},
		{"all pods, either", "kubepods*", []string{"/kubepods", "/kubepods.slice"}},
		{"a pod, systemd driver", "kubepods.slice/**/kubepods*-pod7f2c.slice", []string{"/" + burstable}},
		{"a guaranteed pod, systemd driver", "kubepods.slice/**/kubepods*-pod11aa.slice", []string{"/" + guaranteed}},
		{"a pod, cgroupfs driver", "kubepods/**/pod7f2c-11ee", []string{"/" + driverless}},
		{"containers of containerd", "kubepods.slice/**/cri-containerd-*.scope", []string{
			"/" + burstable + "/cri-containerd-0a1b.scope", "/" + burstable + "/cri-containerd-2c3d.scope",
			"/" + guaranteed + "/cri-containerd-6a7b.scope",
		}},
		{"containers of CRI-O, not its monitors", "kubepods.slice/**/crio-[0-9a-f][0-9a-f]*.scope", []string{"/" + burstable + "/crio-4e5f.scope"}},
		{"containers of Docker, systemd driver", "system.slice/docker-*.scope", []string{"/system.slice/docker-0123.scope"}},
		{"containers of Docker, cgroupfs driver", "docker/*", []string{"/docker/4567"}},
		{"a unit", "system.slice/shop.service", []string{"/system.slice/shop.service"}},
		{"users", "user.slice", []string{"/user.slice"}},
		{"anything below", "docker/**", []string{"/docker"}},
		{"anywhere", "**/shop.service", []string{"/system.slice/shop.service"}},
		{"twice", "**/kubepods-burstable.slice/**/crio-4*", []string{"/" + burstable + "/crio-4e5f.scope"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dirs, _, err := h.Resolve([]string{test.pattern})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, dir := range dirs {
				names = append(names, h.Name(dir))
			}
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.pattern, diff)
			}
		})
	}
	if _, _, err := h.Resolve([]string{"nothing/**/[a"}); err == nil {
		t.Error("a malformed pattern was taken")
	}
}

func TestParents(t *testing.T) {
	h := tree(t, "system.slice/a.service", "kubepods.slice/besteffort/pod1", "kubepods.slice/pod2", "docker")
	for pattern, want := range map[string][]string{
		"system.slice/*.service": {"/", "/system.slice"},
		"docker":                 {"/"},
		"not/there/yet":          {"/"},
		"kubepods.slice/**/pod*": {"/", "/kubepods.slice", "/kubepods.slice/besteffort", "/kubepods.slice/besteffort/pod1", "/kubepods.slice/pod2"},
		"/":                      nil,
	} {
		var names []string
		for _, dir := range h.Parents(pattern) {
			names = append(names, h.Name(dir))
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s (-want +got):\n%s", pattern, diff)
		}
	}
}

func FuzzResolve(f *testing.F) {
	for _, seed := range []string{"a/b", "**", "**/b", "a/**", "a/**/**/c", "/", "../a", "[a", "a//b", "**x", "*/**/c"} {
		f.Add(seed)
	}
	root := f.TempDir()
	for _, dir := range []string{"a/b/c", "a/d", "e"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			f.Fatal(err)
		}
		for at := filepath.Join(root, dir); strings.HasPrefix(at, root); at = filepath.Dir(at) {
			if err := os.WriteFile(filepath.Join(at, "cgroup.procs"), nil, 0o644); err != nil {
				f.Fatal(err)
			}
		}
	}
	h := At("/", root)
	f.Fuzz(func(t *testing.T, pattern string) {
		dirs, missing, err := h.Resolve([]string{pattern})
		if err != nil && (dirs != nil || missing != nil) {
			t.Errorf("%v, %v beside %v", dirs, missing, err)
		}
		for _, dir := range dirs {
			if dir != root && !below(dir, root) || !isCgroup(dir) {
				t.Errorf("%q found %s", pattern, dir)
			}
		}
		h.Parents(pattern)
	})
}
