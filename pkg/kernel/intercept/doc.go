// Package intercept loads weir's BPF programs, attaches them to cgroups, keeps their maps in step with a steer.Plan, and tells
// where an accepted connection was going.
//
// It owns the BPF object for TCP connections on their way out; pkg/kernel/inbound and pkg/kernel/datagram have objects of their own. It
// must not know the proxy, nor how a plan came about.
//
// # Lifetime
//
// Programs are attached by links that the kernel drops with the daemon's file descriptors, on Close as on SIGKILL: afterwards
// connections go where they would go without weir. With Options.Pins links, and the maps that know of connections under way, are
// pinned too, outlive the process, and are taken over by the next one; see docs/decisions/0003-interception.md and 0014-life-cycle.md.
//
// # Locking
//
// One mutex (mu) guards what changes things or shows them as a whole (Apply, SetCapture, ClearCapture, Refresh, Explain, Status, Close).
// OriginalDst and Counters do not wait for these: they read maps, which the kernel synchronises, and an atomic pointer to the
// listener names of the last two generations, and hold a second mutex (life) for reading, so that Close cannot take the maps
// from under them.
package intercept
