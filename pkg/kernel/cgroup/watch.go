package cgroup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Event is a change of a cgroup that is watched.
type Event struct {
	// Dir is the cgroup's directory. It is empty when events were lost: anything may have changed.
	Dir string
	// Tree tells that a cgroup in Dir, or a file of a directory that is none, came or went. Otherwise Dir's processes did: somebody put one in, the first one came, or the
	// last one ended. Processes that fork are not told of.
	Tree bool
}

// Watcher tells of changes in directories of the hierarchy by inotify(7).
type Watcher struct {
	file *os.File
	told func(Event)
	done sync.WaitGroup

	mu   sync.Mutex
	dirs map[string]watches
	ids  map[int32]string
}

// watches are the numbers that inotify has given for a directory and for its cgroup.events, 0 where there is none.
type watches struct{ dir, events int32 }

// What inotify is asked for. cgroup.procs is modified by who writes to it. The kernel reports cgroup.events as modified when the first
// process comes or the last one goes, but only while the file itself is in use, which a watch of its own makes it.
const (
	watchedDir    = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ONLYDIR
	watchedEvents = unix.IN_MODIFY
)

// NewWatcher starts to tell of events, one at a time and on one goroutine, which Close waits for.
func NewWatcher(told func(Event)) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch cgroups: %w", err)
	}
	w := &Watcher{
		file: os.NewFile(uintptr(fd), "inotify"), told: told, dirs: make(map[string]watches), ids: make(map[int32]string),
	}
	w.done.Go(w.run)
	return w, nil
}

// Watch makes the directories those that are watched. Ones that do not exist are left out. The error says that the kernel's limit
// (fs.inotify.max_user_watches) allows no more of them.
func (w *Watcher) Watch(dirs map[string]struct{}) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for dir := range w.dirs {
		if _, wanted := dirs[dir]; !wanted {
			w.remove(dir)
		}
	}
	for dir := range dirs {
		if err := w.add(dir); err != nil {
			return err
		}
	}
	return nil
}

// Add watches one more directory.
func (w *Watcher) Add(dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.add(dir)
}

func (w *Watcher) add(dir string) error {
	if _, known := w.dirs[dir]; known {
		return nil
	}
	id, err := w.control(func(fd int) (int, error) { return unix.InotifyAddWatch(fd, dir, watchedDir) })
	if err != nil {
		return missingIsFine(err, dir)
	}
	events, err := w.control(func(fd int) (int, error) {
		return unix.InotifyAddWatch(fd, filepath.Join(dir, "cgroup.events"), watchedEvents)
	})
	if err != nil { // the root has no such file
		events = 0
		err = missingIsFine(err, dir)
	}
	w.dirs[dir], w.ids[int32(id)] = watches{int32(id), int32(events)}, dir
	if events != 0 {
		w.ids[int32(events)] = dir
	}
	return err
}

func missingIsFine(err error, dir string) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("watch cgroup %s: %w", dir, err)
}

// remove ends the watching of a directory, which may have gone by itself.
func (w *Watcher) remove(dir string) {
	ids := w.dirs[dir]
	delete(w.dirs, dir)
	for _, id := range []int32{ids.dir, ids.events} {
		delete(w.ids, id)
		_, _ = w.control(func(fd int) (int, error) { return unix.InotifyRmWatch(fd, uint32(id)) })
	}
}

func (w *Watcher) control(f func(fd int) (int, error)) (n int, err error) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if failed := raw.Control(func(fd uintptr) { n, err = f(int(fd)) }); failed != nil {
		return 0, failed
	}
	return n, err
}

// Close ends the watching. It must not be called by what NewWatcher was given.
func (w *Watcher) Close() error {
	err := w.file.Close()
	w.done.Wait()
	return err
}

func (w *Watcher) run() {
	buf := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return // closed
		}
		for rest := buf[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			id, mask := int32(binary.NativeEndian.Uint32(rest)), binary.NativeEndian.Uint32(rest[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			if size > len(rest) {
				break
			}
			name, _, _ := bytes.Cut(rest[unix.SizeofInotifyEvent:size], []byte{0})
			w.event(id, mask, string(name))
			rest = rest[size:]
		}
	}
}

func (w *Watcher) event(id int32, mask uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		w.told(Event{Tree: true})
		return
	}
	w.mu.Lock()
	dir, known := w.ids[id]
	events := known && w.dirs[dir].events == id
	if known && mask&unix.IN_IGNORED != 0 {
		w.remove(dir)
	}
	w.mu.Unlock()
	switch {
	case !known || mask&unix.IN_IGNORED != 0:
	case mask&(unix.IN_CREATE|unix.IN_DELETE) != 0:
		w.told(Event{Dir: dir, Tree: true})
	case events || name == "cgroup.procs":
		w.told(Event{Dir: dir})
	}
}
