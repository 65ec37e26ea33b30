package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/protoyaml"
)

// maxDepth is how deep directories may nest; it ends loops of symbolic links.
const maxDepth = 32

// Checker tells what is wrong with a resource beyond the rules of its own message, and what is worth knowing of it. Both
// begin with the place, as FILE:LINE:COLUMN. It may be called from several goroutines at once.
type Checker func(file string, r protoyaml.Resource) (errs []error, warnings []string)

// loader reads a directory tree of resources, and of what it read before only what changed. It is used by one goroutine
// at a time.
type loader struct {
	dir     string
	groupBy GroupBy
	check   Checker

	files map[string]*file
	// dirs are the directories of the last reading, with what identifies them.
	dirs map[string]stamp
}

// tree is what was read.
type tree struct {
	// sets by group, without the groups that are in errs.
	sets map[string]*set
	// errs tell by group what is wrong; what is wrong for everyone stands for all groups.
	errs     map[string][]error
	warnings []string
	files    int
	// own is what is being collected for each group alone.
	own map[string]setBuilder
}

// found is a file of the tree.
type found struct {
	path  string
	place place
	file  *file
	err   error
}

// load reads the tree. old are the sets that are served. It is errBusy, when patient, while a file is being written.
func (l *loader) load(old map[string]*set, patient bool) (*tree, error) {
	t := &tree{sets: map[string]*set{}, errs: map[string][]error{}, own: map[string]setBuilder{everyone: {}}}
	w := &walk{loader: l, tree: t, dirs: map[string]stamp{}}
	w.root()
	l.dirs = w.dirs
	l.readAll(w.found, patient)
	next := make(map[string]*file, len(w.found))
	for _, f := range w.found {
		switch {
		case errors.Is(f.err, errBusy):
			return nil, fmt.Errorf("read %s: %w", f.path, errBusy)
		case errors.Is(f.err, fs.ErrNotExist):
			// It went between the reading of its directory and its own.
		case f.err != nil:
			t.fail(f.place, fmt.Errorf("read resources: %w", f.err))
		default:
			next[f.path] = f.file
			t.warnings = append(t.warnings, f.file.warnings...)
		}
	}
	l.files = next
	t.files = len(next)
	t.build(w.found, old)
	return t, nil
}

// readAll reads what changed, on all processors.
func (l *loader) readAll(all []*found, patient bool) {
	var wg sync.WaitGroup
	work := make(chan *found)
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		wg.Go(func() {
			for f := range work {
				f.file, f.err = l.readFile(f.path, l.files[f.path], patient)
			}
		})
	}
	for _, f := range all {
		work <- f
	}
	close(work)
	wg.Wait()
}

// fail notes an error.
func (t *tree) fail(p place, err error) { t.errs[p.group] = append(t.errs[p.group], err) }

// build makes the sets of files: what is shared, and for each group what is its own in the place of what is shared.
func (t *tree) build(all []*found, old map[string]*set) {
	shared := setBuilder{}
	for _, f := range all {
		if f.file == nil || f.err != nil {
			continue
		}
		for _, err := range f.file.errs {
			t.fail(f.place, err)
		}
		into := shared
		if !f.place.shared {
			into = t.own[f.place.group]
		}
		for _, i := range f.file.items {
			if err := into.add(i); err != nil {
				t.fail(f.place, fmt.Errorf("%s: %w", i.origin, err))
			}
		}
	}
	if len(t.errs[everyone]) > 0 {
		return
	}
	for group, b := range t.own {
		if len(t.errs[group]) > 0 {
			continue
		}
		for url, items := range shared {
			merged := maps.Clone(items)
			maps.Copy(merged, b[url])
			b[url] = merged
		}
		next := b.build(old[group])
		if t.errs[group] = next.clashes(); len(t.errs[group]) == 0 {
			delete(t.errs, group)
			t.sets[group] = next
		}
	}
}

// walk finds the files of a tree.
type walk struct {
	*loader
	tree  *tree
	found []*found
	dirs  map[string]stamp
}

func (w *walk) root() {
	p, _ := w.groupBy.place("")
	w.directory(w.dir, p, func(path string, depth int) {
		below, err := w.groupBy.place(filepath.Base(path))
		if err != nil {
			w.tree.fail(p, fmt.Errorf("%s: %w", path, err))
			return
		}
		if w.tree.own[below.group] == nil {
			w.tree.own[below.group] = setBuilder{} // a group without files is one, too
		}
		w.below(path, below, depth)
	}, 0)
}

func (w *walk) below(path string, p place, depth int) {
	w.directory(path, p, func(path string, depth int) { w.below(path, p, depth) }, depth)
}

// directory lists the files in a directory and hands its subdirectories on.
func (w *walk) directory(dir string, p place, each func(path string, depth int), depth int) {
	info, err := os.Stat(dir)
	if err != nil {
		w.fail(p, err, depth)
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.fail(p, err, depth)
		return
	}
	id := stampOf(info)
	w.dirs[dir] = stamp{dev: id.dev, ino: id.ino}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Stat(path)
			isDir = err == nil && target.IsDir()
		}
		switch {
		case isDir && depth == maxDepth:
			w.tree.fail(p, fmt.Errorf("%s: directories nest more than %d levels deep", path, maxDepth))
		case isDir:
			each(path, depth+1)
		case decoderOf(path) != nil:
			w.found = append(w.found, &found{path: path, place: p})
		}
	}
}

// fail notes that a directory cannot be read; one below the root may just be gone.
func (w *walk) fail(p place, err error, depth int) {
	if depth == 0 || !errors.Is(err, fs.ErrNotExist) {
		w.tree.fail(p, fmt.Errorf("read resources: %w", err))
	}
}

// err joins the errors of all groups, in the order of these.
func (t *tree) err() error {
	var all []error
	for _, group := range slices.Sorted(maps.Keys(t.errs)) {
		all = append(all, t.errs[group]...)
	}
	return errors.Join(all...)
}

// lines are the errors of all groups, one a line.
func (t *tree) lines() []string {
	err := t.err()
	if err == nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(err.Error()), "\n")
}
