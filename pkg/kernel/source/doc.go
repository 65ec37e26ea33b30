// Package source tells the address that the kernel would connect from: that of the route to a destination. Captured connections are
// led to the loopback device, so that the kernel gives them a loopback address instead of the one that they would have had.
//
// It owns the question to the kernel (rtnetlink(7)) and a cache of answers; it must not know what is done with them, BPF or
// configuration. Of asks in the network namespace of the calling thread. A Cache may be used by any goroutine: finding an answer takes
// no lock.
//
// The kernel is asked as for a socket of this process without marks. Rules for the users or the marks of other processes are not seen, nor
// which one of several equal routes a connection would take.
package source
