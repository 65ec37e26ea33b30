// Package datagram captures datagrams of UDP: it loads the programs of bpf/udp.bpf.c, attaches them to cgroups, writes the rules that
// steer has made, and tells where a captured datagram was going.
//
// It must not know listeners beyond the names in rules, nor the capture sockets beyond their ports. Nothing is loaded before a plan
// has rules. Links, and the maps that know of exchanges under way, are pinned when Options.OpenPins says where: without the process the fail
// policy holds then, since the programs look for capture sockets with the proxy's mark. Otherwise datagrams go where the application sends
// them when the process ends.
//
// Locking: Interceptor.mu guards what is applied and attached. OriginalDst and Counters take life for reading only, so that they can
// go on while a plan is applied.
package datagram
