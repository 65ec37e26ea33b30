// Package e2e holds weir's end-to-end tests: the programs as they are shipped, on the real kernel, with real clients and
// backends. It has no code of its own; test/harness builds what the tests need, and each test makes its own host.
package e2e
