// Package originalsrc is the listener filter envoy.filters.listener.original_src: upstreams see the client's address as the source of
// the connections that are made for it.
//
// How that is brought about is up to whoever makes the connection. This package must not know sockets. A Filter is stateless.
package originalsrc

import (
	"context"
	"net/netip"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Filter is the configured filter.
type Filter struct {
	// Mark is the SO_MARK of upstream sockets; 0 leaves weir's own.
	Mark uint32
}

var _ filter.Listener = Filter{}

// Inspect implements filter.Listener. The address is the one that filters before this one have found, with any port; clients of unix
// sockets have none.
func (f Filter) Inspect(_ context.Context, _ filter.PeekConn, info *streaminfo.Connection) (filter.ListenerVerdict, error) {
	if info.Remote.IsValid() {
		info.Source = streaminfo.Source{Addr: netip.AddrPortFrom(info.Remote.Addr(), 0), Mark: f.Mark}
	}
	return filter.Continue, nil
}
