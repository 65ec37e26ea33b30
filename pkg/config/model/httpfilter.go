package model

// HTTPFilter is one configured HTTP filter. Config was decoded by the filter's own package.
type HTTPFilter struct {
	// Name is the key of per-route configuration, and the name of the resource that Discovery asks for.
	Name    string
	TypeURL string
	// Config is nil when Discovery is set.
	Config any
	// Disabled filters only run where a route's configuration enables them.
	Disabled bool
	// Discovery delivers the configuration; nil for a filter that has its own.
	Discovery *FilterDiscovery
	// Upstream is the chain that a router runs around each exchange with an upstream host; nil for none. The chain of a
	// cluster takes its place.
	Upstream []*HTTPFilter
	// UpstreamLogs are the access logs that a router writes about each attempt.
	UpstreamLogs []*AccessLog
}
