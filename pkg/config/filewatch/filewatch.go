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
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Watcher follows a set of files.
type Watcher struct {
	fs   *fsnotify.Watcher
	done chan struct{}

	mu    sync.Mutex
	files map[string]*file
	dirs  map[string]int // watched directory -> number of files that want it
}

type file struct {
	path string
	dirs []string
	hash [sha256.Size]byte
	// changed is called on the watcher's goroutine.
	changed []func()
}

// New returns a watcher that runs until Close.
func New() (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("create file watcher: %w", err)
	}
	w := &Watcher{fs: fs, done: make(chan struct{}), files: map[string]*file{}, dirs: map[string]int{}}
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

// Add calls changed whenever the content of path differs from what it was. directory is watched too when not empty
// (watched_directory). The directory of path must exist; the file itself need not yet.
func (w *Watcher) Add(path, directory string, changed func()) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	dirs := []string{filepath.Dir(path)}
	if directory != "" && directory != dirs[0] {
		dirs = append(dirs, directory)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.files[path]
	if f == nil {
		f = &file{path: path}
		f.hash, _ = hashOf(path) // unreadable is a content too
		w.files[path] = f
	}
	for _, d := range dirs {
		if err := w.fs.Add(d); err != nil {
			return fmt.Errorf("watch directory %s: %w", d, err)
		}
		w.dirs[d]++
		f.dirs = append(f.dirs, d)
	}
	f.changed = append(f.changed, changed)
	return nil
}

// Remove stops following path for all that asked.
func (w *Watcher) Remove(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.files[path]
	if f == nil {
		return
	}
	delete(w.files, path)
	for _, d := range f.dirs {
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
		case _, ok := <-w.fs.Events:
			if !ok {
				return
			}
			w.check()
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) { // events were lost: look at everything
				w.check()
			}
		}
	}
}

// check compares all files: events name directories and links, not the file that changed by them.
func (w *Watcher) check() {
	w.mu.Lock()
	var calls []func()
	for _, f := range w.files {
		hash, err := hashOf(f.path)
		if err != nil || hash == f.hash { // a file that is gone for the moment of a swap keeps its old content
			continue
		}
		f.hash = hash
		calls = append(calls, f.changed...)
	}
	w.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

func hashOf(path string) (sum [sha256.Size]byte, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return sum, err
	}
	return sha256.Sum256(content), nil
}
