package model

import (
	"cmp"
	"net/netip"
	"slices"
)

// Defaults and bounds of Events.
const (
	DefaultKeptEvents = 1000
	MaxKeptEvents     = 100_000
)

// Events is weir.interception.v1.Events.
type Events struct {
	// Sample is the share of the matching decisions that is recorded, above 0 and at most 1.
	Sample float64
	// Directions, Protocols, Verdicts, Reasons, Cgroups and Destinations are what matches; an empty one matches everything.
	Directions, Protocols, Verdicts, Reasons, Cgroups []string
	Destinations                                      []netip.Prefix
	// Keep is how many are remembered; 0 is DefaultKeptEvents.
	Keep int
}

// with combines two configurations of one process; either may be nil. Where lists are given by both, they add up.
func (e *Events) with(later *Events) *Events {
	if e == nil || later == nil {
		return cmp.Or(e, later)
	}
	return &Events{
		Sample: later.Sample, Keep: cmp.Or(later.Keep, e.Keep),
		Directions: slices.Concat(e.Directions, later.Directions), Protocols: slices.Concat(e.Protocols, later.Protocols),
		Verdicts: slices.Concat(e.Verdicts, later.Verdicts), Reasons: slices.Concat(e.Reasons, later.Reasons),
		Cgroups: slices.Concat(e.Cgroups, later.Cgroups), Destinations: slices.Concat(e.Destinations, later.Destinations),
	}
}
