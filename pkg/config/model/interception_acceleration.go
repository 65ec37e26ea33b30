package model

import (
	"cmp"
	"slices"
)

// AccelerationMode says which payload goes past TCP (weir.interception.v1.Acceleration.Mode).
type AccelerationMode uint8

// Modes; a greater one accelerates more.
const (
	// AccelerateNothing has everything go through TCP.
	AccelerateNothing AccelerationMode = iota
	// AccelerateReceive has what weir receives from applications go past TCP.
	AccelerateReceive
	// AccelerateFull has what weir sends to named applications go past TCP, too.
	AccelerateFull
)

// String is the mode's name in configuration.
func (m AccelerationMode) String() string { return [...]string{"OFF", "RECEIVE", "FULL"}[m] }

// Defaults and bounds of Acceleration.
const (
	// DefaultMaxUnread holds four of the largest messages that an application sends at once.
	DefaultMaxUnread = 512 << 10
	MinMaxUnread     = 64 << 10
	MaxMaxUnread     = 16 << 20
	// DefaultMinOperations leaves requests of a few messages alone.
	DefaultMinOperations = 8
	MaxMinOperations     = 1_000_000
)

// Acceleration is weir.interception.v1.Acceleration.
type Acceleration struct {
	Mode AccelerationMode
	// Applications are cgroups of those that weir may send past TCP to, globs like Interception.Cgroups.
	Applications []string
	// MaxUnread bounds the bytes that went past TCP and wait in a socket; 0 is DefaultMaxUnread.
	MaxUnread uint32
	// MinOperations is the number of reads and writes after which a connection is accelerated; 0 is DefaultMinOperations.
	MinOperations uint32
}

// with combines two of them as Interception.With does.
func (a Acceleration) with(later Acceleration) Acceleration {
	return Acceleration{
		Mode: max(a.Mode, later.Mode), Applications: slices.Concat(a.Applications, later.Applications),
		MaxUnread: cmp.Or(later.MaxUnread, a.MaxUnread), MinOperations: cmp.Or(later.MinOperations, a.MinOperations),
	}
}
