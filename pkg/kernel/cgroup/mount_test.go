package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	unified = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	hybrid  = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
		"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
		"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	none    = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
	part    = "50 31 0:38 /docker/abc /run/part rw - cgroup2 cgroup2 rw\n"
	private = "51 31 0:38 / /run/private rw master:1 propagate_from:2 - cgroup2 none rw\n"
	spaced  = `52 31 0:38 / /run/with\040space\011and\134backslash rw - cgroup2 none rw` + "\n"
)

func TestFindMount(t *testing.T) {
	tests := []struct {
		name, text string
		want       Mount
		found      bool
	}{
		{"unified", unified, Mount{"/", "/sys/fs/cgroup"}, true},
		{"hybrid", hybrid, Mount{"/", "/sys/fs/cgroup/unified"}, true},
		{"none", none, Mount{}, false},
		{"empty", "", Mount{}, false},
		{"part only", part, Mount{"/docker/abc", "/run/part"}, true},
		{"whole before part", part + private, Mount{"/", "/run/private"}, true},
		{"customary before private", private + unified, Mount{"/", "/sys/fs/cgroup"}, true},
		{"unified before hybrid", hybrid + unified, Mount{"/", "/sys/fs/cgroup"}, true},
		{"escapes", spaced, Mount{"/", "/run/with space\tand\\backslash"}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mounts, err := ParseMounts(strings.NewReader(test.text))
			if err != nil {
				t.Fatal(err)
			}
			got, found := choose(mounts)
			if diff := cmp.Diff(test.want, got); diff != "" || found != test.found {
				t.Errorf("found %t, want %t; mount (-want +got):\n%s", found, test.found, diff)
			}
		})
	}
}

// TestFindExplains tells who does not see the hierarchy from where there is none.
func TestFindExplains(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	with, without := file("with", hybrid), file("without", none)
	if h, err := find(with, without); err != nil || h.Root() != "/sys/fs/cgroup/unified" {
		t.Errorf("found %v, %v", h, err)
	}
	for _, test := range []struct {
		name, own, first string
		want             error
		hint             bool
	}{
		{"nowhere", without, without, ErrNotMounted, false},
		{"hidden", without, with, ErrNotMounted, true},
		{"not allowed to look", without, filepath.Join(dir, "not"), ErrNotMounted, false},
		{"unreadable", filepath.Join(dir, "not"), with, fs.ErrNotExist, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := find(test.own, test.first)
			if !errors.Is(err, test.want) || strings.Contains(err.Error(), "nsenter --net=") != test.hint {
				t.Errorf("error %v, want %v, with a hint: %t", err, test.want, test.hint)
			}
		})
	}
}

func TestParseMountsRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no separator":   "25 30 0:23 / /sys/fs/cgroup rw\n",
		"too few fields": unified + "25 30 0:23 / - cgroup2 none rw\n",
	} {
		t.Run(name, func(t *testing.T) {
			if mounts, err := ParseMounts(strings.NewReader(text)); err == nil {
				t.Errorf("got %v, want an error", mounts)
			}
		})
	}
}

func FuzzParseMounts(f *testing.F) {
	for _, seed := range []string{unified, hybrid, none, part, private, spaced, `1 2 3 \08 \400 \ - cgroup2`, ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := ParseMounts(strings.NewReader(text))
		if err != nil && mounts != nil {
			t.Errorf("mounts %v beside error %v", mounts, err)
		}
		if len(mounts) > strings.Count(text, "cgroup2") {
			t.Errorf("%d mounts out of %q", len(mounts), text)
		}
		if _, found := choose(mounts); found != (len(mounts) > 0) {
			t.Errorf("choose found %t among %d", found, len(mounts))
		}
	})
}

func FuzzParseOwn(f *testing.F) {
	for _, seed := range []string{"0::/\n", "4:memory:/x\n0::/a/b\n", "0::", "0::x\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		own, found := ParseOwn(text)
		if found != strings.HasPrefix(own, "/") || strings.Contains(own, "\n") {
			t.Errorf("%q, %t out of %q", own, found, text)
		}
	})
}
