// Package accel moves payload between applications of this host and the proxy from socket to socket, past TCP (sockmap).
//
// It owns bpf/accel.bpf.c, its maps and attachments, the memory that the proxy publishes its reading in, and the judgement
// whether this host may do it: what a kernel must have, and tests at start with sockets of its own. Nothing ever depends on it: a
// socket that was not taken in behaves as before. It must not know the proxy, which gives it descriptors, nor configuration.
//
// # What holds
//
// A socket hands out redirected bytes before those that came by TCP. So bytes are redirected only while everything that went by
// TCP has been read; they may go by TCP at any time, and do when too much is unread, so that a reader that stops makes its sender
// wait. What is unread outlives the connection, its other end and the proxy, also one that is killed: it goes with the last
// descriptor of the socket it waits in, as with TCP. FINs and resets always go by TCP, and are seen after all bytes.
//
// What cannot be seen from here, and differs from TCP for every application whose socket is taken in: a recv that blocks returns
// EAGAIN when a signal, a stop or a reset interrupts it; FIONREAD, see Counts; urgent data (MSG_OOB) becomes part of the stream;
// when memory is short a send may fail with ENOMEM. For applications that are redirected into: splice(2) does not see the bytes,
// MSG_WAITALL returns or waits with too few, kernel TLS takes what waits when it is switched on for plain text.
//
// Locking: Accelerator.mu guards the attachments and how long the programs and maps are needed, Accelerator.slots has a lock of its
// own. Everything may be called from any goroutine.
package accel
