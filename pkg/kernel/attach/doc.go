// Package attach puts programs on cgroups through links that may outlive the process. It makes the attachments those that are asked for,
// pins them together with the maps that know of connections under way, leads the links of a daemon before to this one's programs, and
// decides what stays when the process ends.
//
// It must not know what the programs do, nor which cgroups are captured and why: pkg/kernel/intercept, datagram and inbound tell it. How
// links and maps are named on bpffs, and whose they are, is pkg/kernel/pin's.
//
// # Locking
//
// Neither Pinned nor Cgroups has a lock: each is used under the one of whom it belongs to.
package attach
