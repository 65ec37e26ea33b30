// Package controlplanes runs the drivers of other projects' control planes against weir.
//
// go-control-plane tests itself with a driver that serves snapshots of clusters, endpoints, listeners, routes, secrets and
// runtime layers to an Envoy, and sends requests through it. Here weir takes Envoy's place. The module in driver/ names the
// driver and its backend as tools, since they cannot be installed by version.
package controlplanes
