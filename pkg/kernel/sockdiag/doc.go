// Package sockdiag lists the TCP sockets of a network namespace as the kernel's sock_diag(7) reports them: addresses, owner,
// cgroup, byte counts, round-trip time, and what BPF programs have stored with them.
//
// It owns the netlink encoding and nothing else; it must not know what weir does with sockets. A Conn is for one goroutine at a
// time and asks about the namespace that it was opened in.
package sockdiag
