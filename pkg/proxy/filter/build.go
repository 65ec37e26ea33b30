package filter

import (
	"log/slog"

	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/timer"
)

// Builder is implemented by the decoded configuration of an HTTP filter (model.HTTPFilter.Config). A configuration that
// is an HTTP filter itself needs no Builder.
type Builder interface {
	// NewHTTP makes the filter that all streams of one connection manager share.
	NewHTTP(d Deps) (HTTP, error)
}

// Deps is what a filter may use.
type Deps struct {
	// Stats is the scope of the connection manager: "http.<stat_prefix>.".
	Stats *stats.Scope
	Log   *slog.Logger
	Wheel *timer.Wheel
	// Clusters finds clusters by name.
	Clusters Clusters
	// BufferLimit bounds the bytes of a request body that are kept for a retry.
	BufferLimit int
	// Runtime answers runtime keys with a number; nil knows none.
	Runtime func(key string) (uint64, bool)
}
