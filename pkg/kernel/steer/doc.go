// Package steer compiles the configuration into what the kernel is to capture: a Plan of address prefixes, ports and the
// listener that each is for.
//
// It is pure: it owns the translation and the comparison of plans, touches nothing outside its arguments, and must not know
// BPF maps, cgroup directories or sockets. Plans are immutable once returned.
//
// What is captured, for the processes in the chosen cgroups:
//
//   - The address of every listener with bind_to_port false. An exact address is captured as it is. 0.0.0.0 means every IPv4
//     address on that port, [::] every IPv6 address, and IPv4 too when the listener has ipv4_compat; this is the set of
//     destinations that Envoy's original-destination hand-off would find the listener for.
//   - When a listener has use_original_dst and its traffic direction is not INBOUND, every other TCP destination, of both
//     families.
//   - The prefixes and ports of Interception.Include, beside these.
//
// Catch-alls (an any-address, use_original_dst, an included range that is wider) leave alone what stays on the machine or
// cannot be dialled again from its address: loopback, the unspecified address and IPv6 link-local. Istio's rules leave loopback
// alone in the same way. A listener or an included range inside these captures it nevertheless.
//
// Interception.Exclude wins over everything.
package steer
