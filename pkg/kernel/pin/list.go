package pin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
}

// Version is one layout's directory.
type Version struct {
	Layout string
	// Maps and Links are how many are pinned.
	Maps, Links int
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
		}
		state.Versions = append(state.Versions, version)
	}
	slices.SortFunc(state.Versions, func(a, b Version) int { return strings.Compare(a.Layout, b.Layout) })
	return state, nil
}

// Discard removes state that nobody owns. The error is a *BusyError when somebody does.
func Discard(state State) error {
	s, err := Open(Options{FS: filepath.Dir(filepath.Dir(state.Dir)), Instance: state.Instance})
	if err != nil {
		return err
	}
	err = s.Remove()
	_ = os.Remove(filepath.Dir(state.Dir)) // while other instances are in it, it stays
	return errors.Join(err, s.Close())
}
