package model

import (
	"cmp"
	"net/netip"
	"slices"
)

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
	// Mark is the SO_MARK of weir's own sockets; 0 for the default one.
	Mark uint32
	// LifeCycle says what outlives the process.
	LifeCycle LifeCycle
	// Inbound says which connections to the captured processes are taken.
	Inbound Inbound
	// Namespaces says in which network namespaces captured processes are served.
	Namespaces Namespaces
	// UDP says what happens to datagrams by their destination, beside what follows from the listeners; the first of two rules for
	// one destination counts.
	UDP []UDPPolicy
	// Offload says which captured connections the kernel may send to an endpoint by itself.
	Offload Offload
	// Acceleration says whether payload between applications and weir goes past TCP.
	Acceleration Acceleration
	// Events says which of the kernel's decisions are recorded; nil for none.
	Events *Events
}

// Offload is weir.interception.v1.Offload.
type Offload struct {
	// Off proxies everything that is captured.
	Off bool
	// ExcludeListeners are names of listeners that are not offloaded although they could be.
	ExcludeListeners []string
}

// Namespaces is weir.interception.v1.Namespaces.
type Namespaces struct {
	// HostUpstream makes connections to upstreams in weir's own network namespace, not in that of the application.
	HostUpstream bool
	// Paths are globs of the files of namespaces that are served all the time.
	Paths []string
	// OwnOnly serves no namespace but weir's own.
	OwnOnly bool
}

// Inbound is weir.interception.v1.Inbound.
type Inbound struct {
	// Off takes none.
	Off bool
	// Include is what a listener with use_original_dst takes; empty: everything.
	Include []CaptureRange
	// Exclude is never taken.
	Exclude []CaptureRange
	// IncludeLoopback takes connections to loopback addresses, too.
	IncludeLoopback bool
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
	out.Mark = cmp.Or(later.Mark, i.Mark)
	out.LifeCycle = i.LifeCycle.with(later.LifeCycle)
	out.Namespaces.HostUpstream = i.Namespaces.HostUpstream || later.Namespaces.HostUpstream
	out.Namespaces.OwnOnly = i.Namespaces.OwnOnly || later.Namespaces.OwnOnly
	out.Namespaces.Paths = slices.Concat(i.Namespaces.Paths, later.Namespaces.Paths)
	out.Inbound.Off = i.Inbound.Off || later.Inbound.Off
	out.Inbound.IncludeLoopback = i.Inbound.IncludeLoopback || later.Inbound.IncludeLoopback
	out.Inbound.Include = append(i.Inbound.Include[:len(i.Inbound.Include):len(i.Inbound.Include)], later.Inbound.Include...)
	out.Inbound.Exclude = append(i.Inbound.Exclude[:len(i.Inbound.Exclude):len(i.Inbound.Exclude)], later.Inbound.Exclude...)
	out.UDP = slices.Concat(i.UDP, later.UDP)
	out.Offload.Off = i.Offload.Off || later.Offload.Off
	out.Offload.ExcludeListeners = slices.Concat(i.Offload.ExcludeListeners, later.Offload.ExcludeListeners)
	out.Acceleration = i.Acceleration.with(later.Acceleration)
	out.Events = i.Events.with(later.Events)
	return &out
}

// CaptureRange is a set of destinations.
type CaptureRange struct {
	Prefix netip.Prefix
	// Ports is empty for all ports.
	Ports []uint16
}
