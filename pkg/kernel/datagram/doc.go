// Package datagram captures datagrams of UDP: it loads the programs of bpf/udp.bpf.c, attaches them to cgroups, writes the rules that
// steer has made, and tells where a captured datagram was going.
//
// It must not know listeners beyond the names in rules, nor the capture sockets beyond their ports. Nothing is loaded before a plan
// has rules. Links and maps are not pinned: when the process ends, datagrams go where the application sends them.
//
// Locking: Interceptor.mu guards what is applied and attached. OriginalDst and Counters take life for reading only, so that they can
// go on while a plan is applied.
package datagram
