package filter

import (
	"log/slog"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// Builder is implemented by the decoded configuration of an HTTP filter (model.HTTPFilter.Config). A configuration that
// is an HTTP filter itself needs no Builder.
type Builder interface {
	// NewHTTP makes the filter that all streams of one connection manager share. A filter that is an io.Closer too is closed
	// when it is replaced, and with its connection manager: it then ends what it does by itself, while streams that began
	// with it may still be under way.
	NewHTTP(d Deps) (HTTP, error)
}

// Deps is what a filter may use.
type Deps struct {
	// Name of the filter in its chain, which per-route configuration goes by.
	Name string
	// Upstream is the chain that a router runs around each exchange (model.HTTPFilter.Upstream).
	Upstream []*model.HTTPFilter
	// UpstreamLogs are what a router writes about each attempt (model.HTTPFilter.UpstreamLogs); nil for nothing.
	UpstreamLogs accesslog.Loggers
	// Stats is the scope of the connection manager: "http.<stat_prefix>.".
	Stats *stats.Scope
	Log   *slog.Logger
	Wheel *timer.Wheel
	// Clusters finds clusters by name.
	Clusters Clusters
	// OnDemand fetches what a request turns out to need; nil fetches nothing.
	OnDemand OnDemand
	// BufferLimit bounds the bytes of a request body that are kept for a retry.
	BufferLimit int
	// Buffers read bodies into memory.
	Buffers *Buffers
	// LocalCluster names the cluster that this proxy belongs to (node.cluster).
	LocalCluster string
	// LocalAddr is this host's address, for x-forwarded-for of requests that it makes itself; may be invalid.
	LocalAddr netip.Addr
	// HealthFailed tells whether the process was told to fail health checks; nil never is.
	HealthFailed func() bool
	// Runtime answers runtime keys; nil knows none.
	Runtime *model.Runtime
}
