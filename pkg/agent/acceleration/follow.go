package acceleration

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/kernel/accel"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// follower attaches to cgroups as they come and go. Its fields are guarded by Acceleration.mu.
type follower struct {
	hierarchy       *cgroup.Hierarchy
	captured, named []string // patterns
	// full is false when weir sends nothing past TCP: the named ones count as captured then.
	full bool
	// watcher is nil when there is no inotify to be had; the interval has to do then.
	watcher *cgroup.Watcher
	paused  bool
	// problem is why some cgroup or address is not taken in.
	problem string
	// What the patterns meant when last looked at: directories, and patterns without any.
	dirs, applications, missing []string
}

// newFollower makes one that calls changed when cgroups come or go.
func newFollower(h *cgroup.Hierarchy, captured, named []string, full bool, log *slog.Logger, changed func()) *follower {
	f := &follower{hierarchy: h, captured: captured, named: named, full: full}
	if !full {
		f.captured, f.named = slices.Concat(captured, named), nil
	}
	var err error
	if f.watcher, err = cgroup.NewWatcher(func(e cgroup.Event) {
		if e.Tree {
			changed()
		}
	}); err != nil {
		log.Warn("connections of new cgroups are accelerated late", "after", interval, "error", err)
	}
	return f
}

// attach has the kernel take in the sockets of the cgroups that there are.
func (f *follower) attach(k *accel.Accelerator) error {
	f.missing = nil
	watch := map[string]struct{}{}
	resolve := func(patterns []string) ([]string, error) {
		for _, p := range patterns {
			for _, dir := range f.hierarchy.Parents(p) {
				watch[dir] = struct{}{}
			}
		}
		dirs, missing, err := f.hierarchy.Resolve(patterns)
		f.missing = append(f.missing, missing...)
		return dirs, err
	}
	var errs [4]error
	f.dirs, errs[0] = resolve(f.captured)
	f.applications, errs[1] = resolve(f.named)
	f.applications, errs[2] = f.others(f.applications)
	if f.watcher != nil {
		errs[3] = f.watcher.Watch(watch)
	}
	return errors.Join(errors.Join(errs[:]...), k.Attach(f.dirs, f.applications))
}

// others leaves out cgroups that weir itself is in: its own sockets are read in other ways than applications' may be.
func (f *follower) others(dirs []string) ([]string, error) {
	own, err := f.hierarchy.Of(0)
	if err != nil {
		return nil, err
	}
	var errs []error
	others := slices.DeleteFunc(dirs, func(dir string) bool {
		inside := own == dir || strings.HasPrefix(own, strings.TrimSuffix(dir, "/")+"/")
		if inside {
			errs = append(errs, fmt.Errorf("weir itself is in the cgroup %s of acceleration.applications, which is left out", f.hierarchy.Name(dir)))
		}
		return inside
	})
	return others, errors.Join(errs...)
}

// names are the names of directories.
func (f *follower) names(dirs []string) []string {
	names := make([]string, 0, len(dirs))
	for _, dir := range dirs {
		names = append(names, f.hierarchy.Name(dir))
	}
	return names
}

func (f *follower) close() error {
	if f.watcher == nil {
		return nil
	}
	return f.watcher.Close()
}
