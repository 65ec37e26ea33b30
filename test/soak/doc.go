// Package soak changes weir's configuration at random under traffic, and watches that nothing breaks.
//
// A world (world_test.go) is what the control plane serves, and from it follow both the configuration that weir must have in
// force and what each client may see. Moves (moves_test.go) change the world; clients (clients_test.go) ask all the time and hold
// each answer against what was allowed between its request and its end (timeline_test.go). After each change the state that
// the admin interface shows must become the wanted one (settled_test.go).
//
// Everything random follows from one seed, which a failure prints: run it again with -soak.seed.
package soak
