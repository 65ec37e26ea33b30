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
//   - When a listener has use_original_dst, every other TCP destination, of both families.
//   - The prefixes and ports of Interception.Include, beside these.
//
// Listeners whose traffic direction is INBOUND have no part in this: they are for what comes to the processes.
//
// Catch-alls (an any-address, use_original_dst, an included range that is wider) leave alone what stays on the machine or
// cannot be dialled again from its address: loopback, the unspecified address and IPv6 link-local. Istio's rules leave loopback
// alone in the same way. A listener or an included range inside these captures it nevertheless.
//
// Interception.Exclude wins over everything.
//
// What becomes of a captured connection is decided here, too: a listener whose outcome is only "TCP to this cluster" is a service,
// whose connections the kernel sends to an endpoint; one that only passes connections on is not captured; all others are
// redirected, with a reason that names the field which needs user space. Which endpoints a service has is not known here: who
// knows the hosts makes a Service of each Spec, or says by Compiler.Unfit why it cannot.
//
// A Compiler follows a configuration step by step at the cost of what changes; Compile is one step of an empty one.
package steer
