package pin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// OwnLink is a link of this process, and what it is pinned as.
type OwnLink struct {
	name string
	link link.Link
}

// OfCgroup is a link that Store.Link has pinned.
func OfCgroup(cgroup uint64, hook string, l link.Link) OwnLink {
	return OwnLink{linkName(cgroup, hook), l}
}

// Elsewhere is a link that Store.LinkElsewhere has pinned.
func Elsewhere(name string, l link.Link) OwnLink { return OwnLink{linkPrefix + name, l} }

// Restore pins anew whatever of these somebody else has removed, and tells how many pins that were. When the directory of the instance
// was removed, the lock went with it and is taken again: the error is a *BusyError when another process was faster. Without a layout,
// and before the state is this process's own, it does nothing.
func (s *Store) Restore(maps map[string]*ebpf.Map, links []OwnLink) (missing int, err error) {
	if s.layout == "" || !s.locked {
		return 0, nil
	}
	if err := s.relock(); err != nil {
		return 0, fmt.Errorf("restore pinned state: %w", err)
	}
	there := make(map[string]bool)
	entries, err := os.ReadDir(s.current())
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Mkdir(s.current(), 0o700)
	}
	if err != nil {
		return 0, fmt.Errorf("restore pinned state: %w", err)
	}
	for _, e := range entries {
		there[e.Name()] = true
	}
	var failed []error
	for name, m := range maps {
		if at := mapName(name); !there[at] {
			missing++
			failed = append(failed, m.Unpin(), m.Pin(filepath.Join(s.current(), at)))
		}
	}
	for _, l := range links {
		if !there[l.name] {
			missing++
			failed = append(failed, l.link.Unpin(), s.pinLink(l.name, l.link)) // it believes that it is pinned
		}
	}
	return missing, errors.Join(failed...)
}

// relock makes the directory of the instance anew when it was removed, and locks it.
func (s *Store) relock() error {
	if same(s.lock, s.dir) {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	lock, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	ok, err := tryLock(lock)
	if err == nil && !ok {
		err = &BusyError{Dir: s.dir, PIDs: holders(s.dir)}
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	old := s.lock
	s.lock = lock
	return old.Close()
}
