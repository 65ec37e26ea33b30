// Package acceleration brings the kernel's side of acceleration (pkg/kernel/accel) and the proxy's connections together, which
// do not know each other.
//
// It owns what is in force: of what was asked for, what the host allows; the cgroups whose sockets are taken in, as they come and
// go; and the addresses that tell connections with the proxy from others. It must not decide anything about a single connection:
// the kernel's side does.
//
// Locking: Acceleration.mu guards what is attached; it is taken by a goroutine of its own, which follows cgroups and addresses,
// and by whoever asks. The addresses of the host are replaced as a whole.
package acceleration
