// Package stats is the statistics store: counters, gauges, histograms and text readouts that are
// named as Envoy names them ("cluster.web.upstream_rq_total") and live in scopes.
//
// It owns the values, their names, the reference counts that decide when a stat vanishes, and the
// rules that split a name into a base name and tags (tags.go). It must not know how stats are
// printed (package render), shipped to sinks, or which subsystem counts what; it imports no other
// package of the project.
//
// Locking: changing a value is one or two atomic operations and takes no lock. Looking a stat up in
// a scope takes that scope's read lock, so owners should look their stats up once, when they are
// configured, and keep the pointers. Creating a stat takes the store's lock under the scope's. No
// two scopes are ever locked at once, and the store never calls back into a scope.
package stats
