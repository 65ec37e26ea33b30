// Package filewatch tells when the content of a file changes, whatever way it was changed: written, renamed into place,
// or by the swap of a symbolic link in its directory (Kubernetes' ..data).
//
// It owns inotify through fsnotify. It must not know what the files hold. Each Watcher has one goroutine.
package filewatch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// Watcher follows a set of files.
type Watcher struct {
	fs   *fsnotify.Watcher
	done chan struct{}
	kick chan struct{} // one slot: someone is in fresh

	mu    sync.Mutex
	files map[string]*file
	dirs  map[string]int // watched directory -> number of watches that want it
	// fresh are watches whose file may have changed between its reading and the watch.
	fresh []*watch
	// read is hashOf; tests count its calls.
	read func(path string) ([sha256.Size]byte, error)
}

type file struct {
	path string
	hash [sha256.Size]byte
	// plain tells that path itself is not a symbolic link, so that only events of its own name can concern it in its
	// directory.
	plain   bool
	watches map[*watch]bool
}

// watch is one caller's interest in a file.
type watch struct {
	file *file
	// dirs are the directories whose events may concern the file, first that of the file; real is where they are without
	// symbolic links, since a directory that is watched by two names tells one of them.
	dirs, real []string
	// changed is called on the watcher's goroutine.
	changed func()
	// behindLink tells that a directory above the file is a symbolic link, which may come to lead elsewhere.
	behindLink bool
	// place is which directory that was last.
	place [sha256.Size]byte
}

// New returns a watcher that runs until Close.
func New() (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("create file watcher: %w", err)
	}
	w := &Watcher{fs: fs, done: make(chan struct{}), kick: make(chan struct{}, 1), files: map[string]*file{}, dirs: map[string]int{}, read: hashOf}
	go w.run()
	return w, nil
}

// Close stops the watcher and waits for a callback that is running.
func (w *Watcher) Close() error {
	err := w.fs.Close()
	<-w.done
	if err != nil {
		return fmt.Errorf("close file watcher: %w", err)
	}
	return nil
}

// Add calls changed whenever the content of path differs from what it was, until cancel. Where path leads to a directory,
// its content is which directory that is: what counts then is the swap of the link. directory is watched too when
// not empty (watched_directory). The directory of path must exist; the file itself need not yet. A file that is gone keeps
// its old content until it returns.
//
// changed runs on the watcher's goroutine, where it may call Add and cancel but not Close. A call of changed that has
// begun may outlast cancel; none begins after it. cancel may be called more than once.
func (w *Watcher) Add(path, directory string, changed func()) (cancel func(), err error) {
	one, err := w.watch(path, directory, changed)
	if err != nil {
		return nil, err
	}
	return func() { w.cancel(one) }, nil
}

// Follow is Add for a file that has been read already: changed is called once more soon, since the file may have changed
// between that reading and the watch.
func (w *Watcher) Follow(path, directory string, changed func()) (cancel func(), err error) {
	one, err := w.watch(path, directory, changed)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.fresh = append(w.fresh, one)
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
	return func() { w.cancel(one) }, nil
}

func (w *Watcher) watch(path, directory string, changed func()) (*watch, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	dirs := append([]string{filepath.Dir(path)}, linkDirs(path)...)
	one := &watch{dirs: dirs, changed: changed, behindLink: len(dirs) > 1}
	if directory != "" {
		if directory, err = filepath.Abs(directory); err != nil {
			return nil, fmt.Errorf("watch %s: %w", directory, err)
		}
		if !slices.Contains(dirs, directory) {
			one.dirs = append(dirs, directory)
		}
	}
	return one, w.add(path, one)
}

// linkDirs are the directories that hold a symbolic link on the way to path.
func linkDirs(path string) []string {
	var dirs []string
	for d := filepath.Dir(path); d != filepath.Dir(d); d = filepath.Dir(d) {
		if info, err := os.Lstat(d); err == nil && info.Mode()&os.ModeSymlink != 0 {
			dirs = append(dirs, filepath.Dir(d))
		}
	}
	return dirs
}

func (w *Watcher) add(path string, one *watch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, d := range one.dirs {
		if err := w.fs.Add(d); err != nil {
			w.release(one.dirs[:i])
			return fmt.Errorf("watch directory %s: %w", d, err)
		}
		w.dirs[d]++
		one.real = append(one.real, realPath(d))
	}
	f := w.files[path]
	if f == nil {
		f = &file{path: path, watches: map[*watch]bool{}, plain: isPlain(path)}
		f.hash, _ = w.read(path) // unreadable is a content too
		w.files[path] = f
	}
	one.file = f
	if one.behindLink {
		one.place, _ = identity(one.dirs[0]) // none is a place, too
	}
	f.watches[one] = true
	return nil
}

func (w *Watcher) cancel(one *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := one.file
	if !f.watches[one] {
		return
	}
	delete(f.watches, one)
	if len(f.watches) == 0 {
		delete(w.files, f.path)
	}
	w.release(one.dirs)
}

// release stops watching directories that nobody wants any more. Called with mu held.
func (w *Watcher) release(dirs []string) {
	for _, d := range dirs {
		if w.dirs[d]--; w.dirs[d] == 0 {
			delete(w.dirs, d)
			_ = w.fs.Remove(d) // it may be gone by itself
		}
	}
}

func (w *Watcher) run() {
	defer close(w.done)
	for {
		select {
		case <-w.kick:
			w.mu.Lock()
			fresh := w.fresh
			w.fresh = nil
			w.mu.Unlock()
			w.tell(fresh)
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			w.check(&e)
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) { // events were lost: look at everything
				w.check(nil)
			}
		}
	}
}

// check compares the files that an event may concern; nil is all.
func (w *Watcher) check(e *fsnotify.Event) {
	w.mu.Lock()
	files := w.concerned(e)
	var changed []*watch
	for _, f := range files {
		for one := range f.watches {
			w.repoint(one)
		}
		f.plain = isPlain(f.path)
		hash, err := w.read(f.path)
		if err != nil || hash == f.hash { // a file that is gone for the moment of a swap keeps its old content
			continue
		}
		f.hash = hash
		for one := range f.watches {
			changed = append(changed, one)
		}
	}
	w.mu.Unlock()
	w.tell(changed)
}

// concerned lists the files that an event may concern. One of a directory that nobody knows by that name, such as one that
// was moved, may concern all. Called with mu held.
func (w *Watcher) concerned(e *fsnotify.Event) []*file {
	var all, files []*file
	for _, f := range w.files {
		all = append(all, f)
	}
	if e == nil {
		return all
	}
	dir := filepath.Dir(e.Name)
	place := realPath(dir)
	known := false
	for _, f := range all {
		here, wanted := f.concerned(e, dir, place)
		known = known || here
		if wanted {
			files = append(files, f)
		}
	}
	if !known {
		return all
	}
	return files
}

// concerned tells whether an event is of a directory of the file, and whether the content may be another by it.
func (f *file) concerned(e *fsnotify.Event, dir, place string) (here, wanted bool) {
	for one := range f.watches {
		for i, d := range one.dirs {
			if d == e.Name { // the directory itself
				return true, true
			}
			if d != dir && one.real[i] != place {
				continue
			}
			here = true
			if i > 0 || !f.plain || filepath.Base(f.path) == filepath.Base(e.Name) {
				return true, true
			}
		}
	}
	return here, false
}

// repoint watches the directory that a link leads to now, in place of the one that it led to. Called with mu held.
func (w *Watcher) repoint(one *watch) {
	if !one.behindLink {
		return
	}
	place, err := identity(one.dirs[0])
	if err != nil || place == one.place {
		return
	}
	one.place = place
	_ = w.fs.Remove(one.dirs[0]) // it may be gone by itself
	_ = w.fs.Add(one.dirs[0])    // if it goes at once, the next event of the link's directory brings it back
	one.real[0] = realPath(one.dirs[0])
}

// tell calls what is still wanted.
func (w *Watcher) tell(watches []*watch) {
	for _, one := range watches {
		w.mu.Lock()
		wanted := one.file.watches[one] // an earlier callback may have cancelled it
		w.mu.Unlock()
		if wanted {
			one.changed()
		}
	}
}

func hashOf(path string) (sum [sha256.Size]byte, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, syscall.EISDIR) {
		return swapOf(path)
	}
	if err != nil {
		return sum, err
	}
	return sha256.Sum256(content), nil
}

// swapOf tells directories apart, and the links by which they are reached: a link that takes the place of another one tells of a
// change also when both lead to the same directory, in which files were written before.
func swapOf(path string) (sum [sha256.Size]byte, err error) {
	place, err := identity(path)
	if err != nil {
		return sum, err
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return sum, err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFLNK {
		return place, nil
	}
	return sha256.Sum256(fmt.Appendf(place[:], "%d %d %d", st.Ino, st.Ctim.Sec, st.Ctim.Nsec)), nil
}

// identity tells directories apart, also one that took the place of another under the same name.
func identity(path string) (sum [sha256.Size]byte, err error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return sum, err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(resolved, &st); err != nil {
		return sum, err
	}
	return sha256.Sum256(fmt.Appendf(nil, "%s %d %d", resolved, st.Dev, st.Ino)), nil
}

// realPath is where a directory is without symbolic links; one that is gone is where it was.
func realPath(dir string) string {
	if place, err := filepath.EvalSymlinks(dir); err == nil {
		return place
	}
	return dir
}

// isPlain tells a path that is there and no symbolic link.
func isPlain(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&os.ModeSymlink == 0
}
