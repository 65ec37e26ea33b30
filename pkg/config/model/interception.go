package model

import "net/netip"

// Interception says which connections the kernel gives to weir (weir.interception.v1.Interception).
type Interception struct {
	// Cgroups are paths or globs below the cgroup v2 root; the processes in them and below are captured. Empty: the default one.
	Cgroups []string
	// Include captures these destinations beside those that follow from the listeners.
	Include []CaptureRange
	// Exclude is never captured and wins over everything else.
	Exclude []CaptureRange
	// FailClosed refuses captured connections while weir cannot take them; otherwise they pass as if weir were not there.
	FailClosed bool
	// Disabled switches interception off.
	Disabled bool
	// Required makes it fatal when interception is impossible here; otherwise weir goes on as an ordinary proxy.
	Required bool
}

// With combines two configurations of one process, such as that of a file and that of a command line: the later one's cgroups
// replace the earlier ones, and everything else adds up. Either may be nil.
func (i *Interception) With(later *Interception) *Interception {
	if i == nil {
		return later
	}
	if later == nil {
		return i
	}
	out := *later
	if len(out.Cgroups) == 0 {
		out.Cgroups = i.Cgroups
	}
	out.Include = append(i.Include[:len(i.Include):len(i.Include)], later.Include...)
	out.Exclude = append(i.Exclude[:len(i.Exclude):len(i.Exclude)], later.Exclude...)
	out.FailClosed = i.FailClosed || later.FailClosed
	out.Disabled = i.Disabled || later.Disabled
	out.Required = i.Required || later.Required
	return &out
}

// CaptureRange is a set of destinations.
type CaptureRange struct {
	Prefix netip.Prefix
	// Ports is empty for all ports.
	Ports []uint16
}
