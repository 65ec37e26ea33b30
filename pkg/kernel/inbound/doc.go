// Package inbound gives connections to the ports that captured processes listen on to the proxy's own listening sockets, by an
// sk_lookup program in each network namespace. The accepted sockets have the original addresses: nothing has to be handed over.
//
// It owns bpf/inbound.bpf.c: its maps, its links on cgroups and namespaces, and the knowledge of who listens where. It must not
// know the proxy, nor how a plan or a listening socket came about.
//
// # Who listens where
//
// A sockops program on the captured cgroups counts listening sockets as they begin and end, so that a new one is captured at once.
// What listened before, IPv4 connections to sockets on [::], and processes outside that share a port, are found by Look through
// sock_diag. Every socket is counted under its cookie, so that the two can neither count it twice nor take it back twice.
//
// # Lifetime
//
// Links are pinned when Options.Pins says where; otherwise links and maps go with the process, and connections then go to the
// applications. The sockets leave their map when they are closed, and the fail policy decides for what comes while there is none.
//
// # Locking
//
// One mutex (mu) guards what changes things or shows them as a whole. Own, Disown and Counters read and write maps, which the
// kernel synchronises, and hold a second mutex (life) for reading, so that Close cannot take the maps from under them.
package inbound
