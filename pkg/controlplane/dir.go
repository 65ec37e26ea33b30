package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long a directory must be quiet before it is read again: files are often written several at a time.
	settle = 100 * time.Millisecond
	// restless is for how long changes may put off the next reading, and how long a file may be in writing.
	restless = 2 * time.Second
	// sweep is how often the directory is looked at without being told of a change: file systems on a network tell
	// nothing, and neither do the targets of symbolic links. What did not change is not read.
	sweep = 5 * time.Second
)

// LoadState says how it went to load a directory.
type LoadState struct {
	Dir string
	// Loaded is when what is served was read first; Checked when the directory was looked at last.
	Loaded, Checked time.Time
	// Errors tell, with file and line, why the last reading is not served in full; empty when it is. Groups are those that
	// they concern; the group "" is all.
	Errors []string
	Groups []string
	// Warnings tell what is accepted but worth knowing.
	Warnings []string
	Files    int
}

// LoadDir serves the resources of all files below dir whose names end in .yaml, .yml, .json, .pb_text or .pb, as one set.
// Files and directories whose names begin with a dot are left out. With Options.GroupBy, files in directories of dir
// other than _shared are for one group of clients, whose name is the directory's. On error, which names file, line and
// reason of all that is wrong, the sets of all groups stay as they were. The types of the resources must be registered
// (pkg/config/apitypes).
func (s *Server) LoadDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.read(dir, false)
	if err != nil {
		return err
	}
	if err := t.err(); err != nil {
		return err
	}
	s.serve(t)
	return nil
}

// WatchDir loads dir, and loads it again whenever something in it changed, until ctx ends. What cannot be used is logged,
// and the last good resources are served on: those of the group that has the fault, or of all groups when it is in what
// they share. The error tells that dir cannot be watched.
func (s *Server) WatchDir(ctx context.Context, dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("watch resources: %w", err)
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch resources: %w", err)
	}
	defer n.Close() // nothing was written
	w := &dirWatch{server: s, dir: dir, abs: abs, notify: n, watched: map[string]stamp{}}
	// The parent tells when the directory itself is replaced.
	if err := n.Add(filepath.Dir(abs)); err != nil {
		return fmt.Errorf("watch resources in %s: %w", filepath.Dir(abs), err)
	}
	return w.run(ctx)
}

// dirWatch follows one directory tree.
type dirWatch struct {
	server *Server
	// dir is the tree as it was named, abs its absolute path.
	dir, abs string
	notify   *fsnotify.Watcher
	// watched are the directories that notify tells of, by their absolute paths.
	watched map[string]stamp
	// since is when the first change came that was not read yet; zero is none.
	since time.Time
}

func (w *dirWatch) run(ctx context.Context) error {
	load, tick := time.NewTimer(0), time.NewTicker(sweep)
	defer load.Stop()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-w.notify.Events:
			if ok && w.concerns(event.Name) {
				load.Reset(w.wait())
			}
		case err := <-w.notify.Errors: // lost events: look
			w.server.opt.Log.Warn("watching resources", "dir", w.dir, "error", err)
			load.Reset(w.wait())
		case <-tick.C:
			if w.since.IsZero() {
				load.Reset(0)
			}
		case <-load.C:
			again := w.server.reload(w.dir, w.since.IsZero() || time.Since(w.since) < restless)
			if w.follow() || again {
				load.Reset(w.wait())
				continue
			}
			w.since = time.Time{}
		}
	}
}

// concerns leaves out what is beside the directory.
func (w *dirWatch) concerns(path string) bool {
	return path == w.abs || filepath.Dir(path) != filepath.Dir(w.abs)
}

// wait is how long to wait with reading.
func (w *dirWatch) wait() time.Duration {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	return max(0, min(settle, restless-time.Since(w.since)))
}

// follow watches the directories that were read. It reports whether there are new ones, in which something may have
// changed since.
func (w *dirWatch) follow() (more bool) {
	dirs := map[string]stamp{}
	for path, id := range w.server.directories() {
		if abs, err := filepath.Abs(path); err == nil {
			dirs[abs] = id
		}
	}
	for path, was := range w.watched {
		if dirs[path] != was {
			_ = w.notify.Remove(path) // one that is gone is not watched any more
			delete(w.watched, path)
		}
	}
	for path, id := range dirs {
		if _, ok := w.watched[path]; ok {
			continue
		}
		if err := w.notify.Add(path); err != nil {
			w.server.opt.Log.Warn("watching resources: changes are noticed late", "dir", path, "error", err)
		}
		w.watched[path] = id
		more = true
	}
	return more
}

// directories are those of the last reading.
func (s *Server) directories() map[string]stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loader.dirs
}

// read reads dir, and only what changed when it is the same as last time.
func (s *Server) read(dir string, patient bool) (*tree, error) {
	if s.loader == nil || s.loader.dir != dir {
		s.loader = &loader{dir: dir, groupBy: s.opt.GroupBy, check: s.opt.Check}
	}
	t, err := s.loader.load(s.sets, patient)
	if err != nil {
		return nil, err
	}
	s.state.Dir, s.state.Checked, s.state.Files = dir, time.Now(), t.files
	s.state.Errors, s.state.Groups = t.lines(), slices.Sorted(maps.Keys(t.errs))
	return t, nil
}

// reload reads dir and serves what is good of it. It reports whether to come back since a file is being written.
func (s *Server) reload(dir string, patient bool) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state.Errors
	t, err := s.read(dir, patient)
	if err != nil {
		return errors.Is(err, errBusy)
	}
	if len(s.state.Errors) > 0 && !slices.Equal(before, s.state.Errors) {
		s.opt.Log.Error("serving the last good resources: the directory cannot be used", "dir", dir, "error", t.err())
	}
	if s.serve(t) {
		s.opt.Log.Info("serving changed resources", "dir", dir, "resources", describeSets(s.sets))
	} else if len(before) > 0 && len(s.state.Errors) == 0 {
		s.opt.Log.Info("the directory can be used again, and nothing changed", "dir", dir)
	}
	return false
}
