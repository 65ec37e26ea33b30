package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/attach"
	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
	"github.com/weir-proxy/weir/pkg/kernel/program"
)

// Captured lists the directories of the cgroups that programs of a weir, this process or another one, or one that has left them
// behind, are attached to, sorted. It goes by the names of the programs.
func Captured(h *cgroup.Hierarchy) ([]string, error) {
	var dirs []string
	all := (&objects{}).hooks()
	capture := all[slices.IndexFunc(all, func(k attach.Hook) bool { return k.Decides })]
	err := filepath.WalkDir(h.Root(), func(dir string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		programs, err := capture.On(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return fs.SkipDir
		}
		if slices.ContainsFunc(programs, func(p HookProgram) bool { return p.Name == captureProgram }) {
			dirs = append(dirs, dir)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for captured cgroups: %w", err)
	}
	return dirs, nil
}

// Shared is a cgroup whose connections more than one weir captures.
type Shared struct {
	// Cgroup is its directory.
	Cgroup string
	// Weirs are their programs in the order in which they run. Each weir has one program, whatever it is attached to.
	Weirs []HookProgram
}

// SharedAmong finds those of the cgroups with the given directories that more than one weir captures, be it by way of a cgroup above.
// Cgroups that are gone, and such as cannot be asked about, are captured by none.
func SharedAmong(dirs []string) ([]Shared, error) {
	var out []Shared
	for _, dir := range dirs {
		found, err := Capturing(dir)
		if errors.Is(err, program.ErrHidden) {
			return nil, nil
		}
		if err != nil {
			return out, err
		}
		var weirs []HookProgram
		for _, p := range found {
			if !slices.ContainsFunc(weirs, func(other HookProgram) bool { return other.ID == p.ID }) {
				weirs = append(weirs, p)
			}
		}
		if len(weirs) > 1 {
			out = append(out, Shared{dir, weirs})
		}
	}
	return out, nil
}

// NewShared finds those of the cgroups that this Interceptor has attached to since the last call that another weir captures, too. One that
// comes later looks for itself.
func (i *Interceptor) NewShared() ([]Shared, error) {
	i.mu.Lock()
	looked := i.neighbours.looked
	maps.DeleteFunc(looked, func(dir string, _ bool) bool { return !i.cgroups.Has(dir) })
	var dirs []string
	for _, dir := range i.cgroups.Dirs() {
		if !looked[dir] && !i.pinned.Yielded() {
			dirs = append(dirs, dir)
			looked[dir] = true
		}
	}
	i.mu.Unlock()
	return SharedAmong(dirs)
}
