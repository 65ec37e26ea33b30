package pin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Options say which state is meant.
type Options struct {
	// FS is a directory of a BPF file system; empty for the host's usual place. One is mounted there if there is none.
	FS string
	// Instance keeps several daemons of one host apart; letters, digits, - and _.
	Instance string
	// TakeOver accepts that another process owns the state: it is about to give it up. Lock waits for that.
	TakeOver bool
}

// Store is the pinned state of an instance, with this process as its owner.
type Store struct {
	dir    string
	lock   *os.File
	locked bool
	layout string
}

// Open finds or makes the directory of an instance, and locks it. The error is a *BusyError when another process owns it.
func Open(o Options) (*Store, error) {
	if !name(o.Instance) {
		return nil, fmt.Errorf("open pinned state: %q is not a name of letters, digits, - and _", o.Instance)
	}
	at, err := Mount(o.FS)
	if err != nil {
		return nil, fmt.Errorf("open pinned state: %w", err)
	}
	s := &Store{dir: instanceDir(at, o.Instance)}
	// The owner of a state that is no longer wanted removes the directory while it holds the lock, and whoever lists states
	// holds it for a moment: look again.
	for tries := 0; ; tries++ {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("open pinned state: %w", err)
		}
		if s.lock, err = os.Open(s.dir); err != nil {
			return nil, fmt.Errorf("open pinned state: %w", err)
		}
		if s.locked, err = tryLock(s.lock); err != nil {
			s.lock.Close()
			return nil, fmt.Errorf("open pinned state: %w", err)
		}
		if same(s.lock, s.dir) && (s.locked || o.TakeOver || tries >= lockTries) {
			break
		}
		s.lock.Close()
		time.Sleep(lockRetry)
	}
	if !s.locked && !o.TakeOver {
		s.lock.Close()
		return nil, &BusyError{Dir: s.dir, PIDs: holders(s.dir)}
	}
	return s, nil
}

// name tells whether a text can be a file name on a bpffs and in the names used here; the kernel reserves dots.
func name(text string) bool {
	return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

func same(open *os.File, path string) bool {
	a, err := open.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// Dir is the directory of the instance.
func (s *Store) Dir() string { return s.dir }

// Locked tells whether the state is this process's own.
func (s *Store) Locked() bool { return s.locked }

// Lock waits until the state is this process's own. It is for a Store that was opened to take over.
func (s *Store) Lock(ctx context.Context) error {
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for !s.locked {
		ok, err := tryLock(s.lock)
		if err != nil {
			return err
		}
		if s.locked = ok; ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the pinned state: %w", &BusyError{Dir: s.dir, PIDs: holders(s.dir)})
		case <-tick.C:
		}
	}
	return nil
}

// Maps gives those of the wanted maps that were pinned under a layout, which becomes the one that is written. All or none: they
// belong together. found is an error that says what is wrong with what was there, to be logged; that is set aside then, for
// Sweep to remove, and is made anew. The caller closes the maps.
func (s *Store) Maps(layout string, wanted map[string]*ebpf.MapSpec) (all map[string]*ebpf.Map, found error) {
	s.layout = layout
	if !exists(s.current()) {
		return nil, nil
	}
	all = make(map[string]*ebpf.Map)
	for name, spec := range wanted {
		m, err := ebpf.LoadPinnedMap(filepath.Join(s.current(), mapName(name)), nil)
		if err == nil {
			all[name] = m
			err = spec.Compatible(m)
		}
		if err != nil {
			for _, m := range all {
				m.Close()
			}
			err = fmt.Errorf("pinned map %s in %s cannot be used: %w", name, s.current(), err)
			aside := filepath.Join(s.dir, fmt.Sprintf("corrupt_%d_%d", os.Getpid(), time.Now().UnixNano()))
			return nil, errors.Join(err, os.Rename(s.current(), aside))
		}
	}
	return all, nil
}

// Commit pins the maps unless they are those that were found. Their directory is made aside and renamed, so that it is never
// half there.
func (s *Store) Commit(all map[string]*ebpf.Map, reused bool) error {
	if reused {
		return nil
	}
	aside := filepath.Join(s.dir, "new_"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return fmt.Errorf("pin maps: %w", err)
	}
	for name, m := range all {
		// A clone: pinning it must not make the caller's map believe that it lives in a directory which is renamed.
		clone, err := m.Clone()
		if err == nil {
			err = errors.Join(clone.Pin(filepath.Join(aside, mapName(name))), clone.Close())
		}
		if err != nil {
			return errors.Join(fmt.Errorf("pin map %s: %w", name, err), removeAll(aside))
		}
	}
	if err := os.Rename(aside, s.current()); err != nil {
		return errors.Join(fmt.Errorf("pin maps: %w", err), removeAll(aside))
	}
	return nil
}

// Link pins a link of a cgroup at a hook.
func (s *Store) Link(cgroup uint64, hook string, l link.Link) error {
	return s.pinLink(linkName(cgroup, hook), l)
}

// LinkElsewhere pins a link that is not of a cgroup, under a name of letters, digits and _ that does not begin with a digit.
func (s *Store) LinkElsewhere(name string, l link.Link) error {
	return s.pinLink(linkPrefix+name, l)
}

func (s *Store) pinLink(name string, l link.Link) error {
	if err := l.Pin(filepath.Join(s.current(), name)); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	return nil
}

// Begin makes a version of the state that is this process's alone: nothing is taken over from those before, and Sweep removes them.
func (s *Store) Begin() error {
	s.layout = fmt.Sprintf("only_%d_%d", os.Getpid(), time.Now().UnixNano())
	if err := os.Mkdir(s.current(), 0o700); err != nil {
		return fmt.Errorf("pin links: %w", err)
	}
	return nil
}

func (s *Store) current() string { return filepath.Join(s.dir, s.layout) }

func mapName(name string) string { return "map_" + name }

// linkPrefix is what the names of links begin with.
const linkPrefix = "link_"

func linkName(cgroup uint64, hook string) string {
	return fmt.Sprintf("%s%d_%s", linkPrefix, cgroup, hook)
}

// Sweep removes what other versions left: every directory but that of the present layout. It names them.
func (s *Store) Sweep() (removed []string, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("sweep pinned state: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if e.Name() == s.layout {
			continue
		}
		failed = append(failed, removeAll(filepath.Join(s.dir, e.Name())))
		removed = append(removed, e.Name())
	}
	return removed, errors.Join(failed...)
}

// Remove removes all state of the instance. What programs are attached by pinned links alone is detached by it.
func (s *Store) Remove() error {
	if err := removeAll(s.dir); err != nil {
		return fmt.Errorf("remove pinned state: %w", err)
	}
	return nil
}

// Close gives up the ownership; the state stays.
func (s *Store) Close() error {
	if err := s.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close pinned state: %w", err)
	}
	return nil
}

// removeAll is os.RemoveAll; connections are no longer captured before what completes them goes.
func removeAll(dir string) error {
	for _, first := range []string{"Connect", "Sendmsg"} {
		names, err := filepath.Glob(filepath.Join(dir, "*"+first+"*"))
		if err != nil {
			return err
		}
		below, err := filepath.Glob(filepath.Join(dir, "*", "*"+first+"*"))
		if err != nil {
			return err
		}
		for _, name := range append(names, below...) {
			if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}
