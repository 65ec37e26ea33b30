// Package accel moves payload between applications of this host and the proxy from socket to socket, past TCP (sockmap).
//
// It owns bpf/accel.bpf.c, its maps and attachments, the memory that the proxy publishes its reading in, and the judgement
// whether this host may do it: a list of kernels that do it wrong, and a test at start with sockets of its own. Nothing ever
// depends on it: a socket that was not taken in behaves as before. It must not know the proxy, which gives it descriptors, nor
// configuration.
//
// Locking: Accelerator.mu guards the attachments, Accelerator.slots has a lock of its own. Everything may be called from any
// goroutine.
package accel
