package pin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// State describes the pinned state of one instance.
type State struct {
	// Dir is its directory, Instance its name.
	Dir, Instance string
	// Owners are the pids of the processes that hold its lock; empty for state that was left behind.
	Owners []int
	// Owned is true when somebody holds the lock, also when the pid cannot be seen.
	Owned bool
	// Versions in it, by layout.
	Versions []Version
	// Cgroups are the ids of those that links are pinned for, in ascending order, as the names of the pins say.
	Cgroups []uint64
}

// Version is one layout's directory.
type Version struct {
	Layout string `json:"layout"`
	// Maps and Links are how many are pinned.
	Maps  int `json:"maps"`
	Links int `json:"links"`
}

// List describes the pinned state below the BPF file systems at the given directories. A directory without one has none.
func List(places ...string) ([]State, error) {
	var all []State
	for _, place := range places {
		if ok, err := Mounted(place); err != nil || !ok {
			if err != nil {
				return nil, fmt.Errorf("look for pinned state: %w", err)
			}
			continue
		}
		entries, err := os.ReadDir(filepath.Join(place, home))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for pinned state: %w", err)
		}
		for _, e := range entries {
			state, err := describeState(place, e.Name())
			if err != nil {
				return nil, err
			}
			all = append(all, state)
		}
	}
	return all, nil
}

func describeState(place, instance string) (State, error) {
	state := State{Dir: instanceDir(place, instance), Instance: instance}
	dir, err := os.Open(state.Dir)
	if err != nil {
		return State{}, fmt.Errorf("look for pinned state: %w", err)
	}
	defer dir.Close()
	free, err := tryLock(dir)
	if err != nil {
		return State{}, err
	}
	if state.Owned = !free; state.Owned {
		state.Owners = slices.DeleteFunc(holders(state.Dir), func(pid int) bool { return pid == os.Getpid() })
	}
	versions, err := dir.ReadDir(-1)
	if err != nil {
		return State{}, fmt.Errorf("look for pinned state: %w", err)
	}
	for _, v := range versions {
		version := Version{Layout: v.Name()}
		pins, _ := os.ReadDir(filepath.Join(state.Dir, v.Name())) // what is no directory has none
		for _, p := range pins {
			switch {
			case strings.HasPrefix(p.Name(), "map_"):
				version.Maps++
			case strings.HasPrefix(p.Name(), "link_"):
				version.Links++
			}
			if id, _, ok := parseLink(p.Name()); ok {
				state.Cgroups = append(state.Cgroups, id)
			}
		}
		state.Versions = append(state.Versions, version)
	}
	slices.Sort(state.Cgroups)
	state.Cgroups = slices.Compact(state.Cgroups)
	slices.SortFunc(state.Versions, func(a, b Version) int { return strings.Compare(a.Layout, b.Layout) })
	return state, nil
}

// Discard removes state that nobody owns, and returns when its programs are detached. The error is a *BusyError when somebody owns
// it.
func Discard(state State) error {
	s, err := Open(Options{FS: filepath.Dir(filepath.Dir(state.Dir)), Instance: state.Instance})
	if err != nil {
		return err
	}
	programs, err := s.programs()
	if err == nil {
		err = s.Remove()
	}
	_ = os.Remove(filepath.Dir(state.Dir)) // while other instances are in it, it stays
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	return waitFreed(state.Dir, programs)
}

// programs are the kernel's numbers of the programs that the pinned links, of all layouts, attach.
func (s *Store) programs() ([]ebpf.ProgramID, error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*", "link_*"))
	if err != nil {
		return nil, err
	}
	var ids []ebpf.ProgramID
	for _, path := range names {
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			continue // no link, so that nothing is attached by it
		}
		info, err := l.Info()
		if err = errors.Join(err, l.Close()); err != nil {
			return nil, fmt.Errorf("look at pinned link %s: %w", path, err)
		}
		ids = append(ids, info.Program)
	}
	return ids, nil
}

// How long the kernel may take to free links that nothing refers to; it does so when RCU and a work queue get to it.
const (
	freeTimeout = 5 * time.Second
	freeRetry   = 2 * time.Millisecond
)

// waitFreed waits until programs are gone. A link detaches its program before it lets go of it, whereas the link's own number
// is gone before that.
func waitFreed(dir string, ids []ebpf.ProgramID) error {
	deadline := time.Now().Add(freeTimeout)
	for _, id := range ids {
		for loaded(id) {
			if time.Now().After(deadline) {
				return fmt.Errorf("program %d, which was pinned in %s, is still there: another process holds it", id, dir)
			}
			time.Sleep(freeRetry)
		}
	}
	return nil
}

// loaded tells whether a program is there. Looking takes a reference for a moment.
func loaded(id ebpf.ProgramID) bool {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return false
	}
	p.Close()
	return true
}
