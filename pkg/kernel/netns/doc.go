// Package netns opens network namespaces and runs code inside them, so that weir's sockets can be in the namespace of the
// application that they serve.
//
// It owns handles on namespaces and the threads that enter them; it must not know BPF, cgroups or configuration. It has no state
// of its own. A Namespace may be used from any goroutine until it is closed.
//
// A handle keeps its namespace alive, and so does every socket in it: who holds one must have a reason that ends. Entering a
// namespace takes CAP_SYS_ADMIN in it and in weir's own user namespace; looking at another user's process CAP_SYS_PTRACE.
package netns
