package intercept

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
)

// Maps that have an entry for each rule of a plan, and for each exclusion.
const (
	CaptureMap = "weir_capture"
	ExcludeMap = "weir_exclude"
)

// FullError says that a map of the kernel half has no room for what should be added. What was there before stays in force.
type FullError struct {
	// Map is its name in bpf/maps.h, Capacity the number of entries that it holds.
	Map      string
	Capacity uint32
	// Err is what the kernel said.
	Err error
}

// Error names the map and its capacity.
func (e *FullError) Error() string {
	return fmt.Sprintf("map %s is full (%d entries): %v", e.Map, e.Capacity, e.Err)
}

// Unwrap returns the kernel's error.
func (e *FullError) Unwrap() error { return e.Err }

// Permanent reports that the map has as many entries as it may have, and not that memory was short at that moment.
func (e *FullError) Permanent() bool { return !errors.Is(e.Err, syscall.ENOMEM) }

// RulesError says that a plan's rules are not in force.
type RulesError struct {
	// Err is why.
	Err error
}

// Error is the cause's.
func (e *RulesError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RulesError) Unwrap() error { return e.Err }

// full turns the kernel's ways of saying that a map has no room into a *FullError: E2BIG by hashes, ENOSPC by tries, ENOMEM by
// both when memory is short.
func full(err error, name string, m *ebpf.Map) error {
	if errors.Is(err, syscall.E2BIG) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.ENOMEM) {
		return &FullError{Map: name, Capacity: m.MaxEntries(), Err: err}
	}
	return err
}
