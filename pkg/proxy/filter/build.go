package filter

import (
	"fmt"
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
	// BuildLogs opens access logs; nil writes none.
	BuildLogs func([]*model.AccessLog) (accesslog.Loggers, error)
	// FilterConfig returns the current filter configuration of ECDS of a name, nil when there is none yet; it may be nil.
	FilterConfig func(name string) *model.FilterConfig
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

// New makes the filter of an entry of a chain. d.Name and what d holds for routers only are set here.
func New(f *model.HTTPFilter, d Deps) (HTTP, error) {
	d.Name = f.Name
	if f.Discovery != nil {
		return newDiscovered(f.Discovery, d)
	}
	return d.build(f.Config, f.Upstream, f.UpstreamLogs)
}

// build makes a filter of its decoded configuration.
func (d Deps) build(config any, upstream []*model.HTTPFilter, logs []*model.AccessLog) (HTTP, error) {
	d.Upstream, d.UpstreamLogs = upstream, nil
	if d.BuildLogs != nil && len(logs) > 0 {
		var err error
		if d.UpstreamLogs, err = d.BuildLogs(logs); err != nil {
			return nil, fmt.Errorf("upstream log: %w", err)
		}
	}
	switch c := config.(type) {
	case Builder:
		return c.NewHTTP(d)
	case HTTP:
		return c, nil
	}
	return nil, fmt.Errorf("configuration of type %T is not an http filter", config)
}
