// Package originaldst is the listener filter envoy.filters.listener.original_dst: it makes the destination that the client
// meant the connection's local address, for filter-chain matching, hand-off and ORIGINAL_DST clusters.
//
// The restored destination itself comes from the listener, which asks the kernel side (or SO_ORIGINAL_DST) when it
// accepts. This package must not know sockets. A Filter is stateless.
package originaldst

import (
	"context"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Filter is the configured filter.
type Filter struct{}

var _ filter.Listener = Filter{}

// Inspect implements filter.Listener. A connection whose destination was not restored is left as it is.
func (Filter) Inspect(_ context.Context, _ filter.PeekConn, info *streaminfo.Connection) (filter.ListenerVerdict, error) {
	if info.OriginalDst.IsValid() {
		info.Local = info.OriginalDst
	}
	return filter.Continue, nil
}
