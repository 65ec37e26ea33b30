// Package udp receives datagrams for the listeners of UDP and brings each one to the filter that handles it.
//
// It owns the sockets, those that the kernel side redirects captured datagrams to included, the life of handlers through
// updates, and the listener.<address>.udp.* statistics. It must not know what a handler does, where snapshots come from, or how the
// kernel side redirects: it asks for original destinations through Options. The sockets of connections are package listener's.
//
// Locking: Manager.mu guards configuration and is held through Apply. A datagram's way takes no lock: what its socket serves is an
// atomic pointer. Each socket has one goroutine, which calls the handler; a handler is called by several of them when its listener
// has several addresses.
package udp
