package model

import "net/netip"

// Interception says which connections the kernel gives to weir (weir.interception.v1.Interception).
type Interception struct {
	// Cgroups are paths or globs below the cgroup v2 root; the processes in them and below are captured.
	Cgroups []string
	// Include captures these destinations beside those that follow from the listeners.
	Include []CaptureRange
	// Exclude is never captured and wins over everything else.
	Exclude []CaptureRange
	// FailClosed refuses captured connections while weir cannot take them; otherwise they pass as if weir were not there.
	FailClosed bool
	// Disabled switches interception off.
	Disabled bool
}

// CaptureRange is a set of destinations.
type CaptureRange struct {
	Prefix netip.Prefix
	// Ports is empty for all ports.
	Ports []uint16
}
