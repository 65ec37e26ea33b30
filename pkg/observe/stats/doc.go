// Package stats is the statistics store: counters, gauges, histograms and text readouts that are
// named as Envoy names them ("cluster.web.upstream_rq_total") and live in scopes.
//
// It owns the values, their names, the reference counts that decide when a stat vanishes, and the
// rules that split a name into a base name and tags (tags.go). It must not know how stats are
// printed (package render), shipped to sinks, or which subsystem counts what; it imports no other
// package of the project.
//
// What has a fixed set of stats, such as a cluster, declares them as a Layout: a whole set is then one
// registration, and counters of eight bytes. They lie side by side on purpose: a request moves a dozen of
// them, which then share two or three cache lines; keeping them apart measured no faster with two cores
// and costs eight times the memory. Stats whose names come up later are looked up in a Scope by name.
//
// Locking: changing a value is one or two atomic operations and takes no lock. Looking a stat up in
// a scope takes that scope's read lock, so owners should look their stats up once, when they are
// configured, and keep the pointers. Registering stats takes the store's lock under the scope's. Listings
// take the store's lock only to copy pointers, under the view's lock, which guards all that is made for
// listings alone. No two scopes are ever locked at once, and the store never calls back into a scope.
package stats
