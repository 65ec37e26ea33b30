// Package harness builds what end-to-end tests of weir need: hosts (network namespaces), cgroups with applications in them,
// backends that count what they got, certificates, a control plane, and the weir process itself.
//
// It owns everything it makes, and takes it away when the test that asked for it ends. It knows weir from outside only: the
// programs, their flags, the admin interface, signals, and what the kernel shows; of weir's packages it uses those a supervisor
// or a control plane would.
//
// Main must run the tests of a package that uses it. Builders fail the test themselves, so that tests read as what they show;
// they are for the test's own goroutine. What backends record is behind their own mutexes.
package harness
