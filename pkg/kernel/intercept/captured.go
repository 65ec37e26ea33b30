package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/cgroup"
)

// Captured lists the directories of the cgroups that programs of a weir, this process or another one, or one that has left them
// behind, are attached to, sorted. It goes by the names of the programs.
func Captured(h *cgroup.Hierarchy) ([]string, error) {
	var dirs []string
	all := (&objects{}).hooks()
	capture := all[slices.IndexFunc(all, func(k hook) bool { return k.decides })]
	err := filepath.WalkDir(h.Root(), func(dir string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		programs, err := attachedTo(dir, capture)
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
