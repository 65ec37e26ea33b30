// Package acceleration brings the kernel's side of acceleration (pkg/kernel/accel) and the proxy's connections together, which
// do not know each other.
//
// It must not decide anything about a single connection: the kernel's side does. It holds no locks; the addresses of the host
// are replaced as a whole.
package acceleration
