// Package cgroup finds the cgroup v2 hierarchy of this host and works with the cgroups in it: which ones a configured path or
// glob means, their ids, their creation and removal, and the processes in them.
//
// It owns the knowledge of where cgroup v2 is mounted and what /proc says about it. It must not know BPF or weir's
// configuration. Its values are immutable; every function may be called from any goroutine.
package cgroup
