// Package upstreamcodec is envoy.filters.http.upstream_codec, the terminal filter of upstream chains: it hands the request
// to the codec of the upstream connection.
//
// It owns nothing. It must not know codecs, connections or the router. One Filter serves all streams.
package upstreamcodec

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Filter is the configured filter.
type Filter struct{}

var _ filter.HTTP = Filter{}

// ErrNotUpstream tells that the filter stands in a chain where no upstream was chosen.
var ErrNotUpstream = errors.New("upstream codec: the filter works in upstream chains only")

// Handle implements filter.HTTP.
func (Filter) Handle(s *filter.Stream) (*message.Response, error) {
	up, ok := s.Host.(filter.UpstreamHost)
	if !ok {
		return nil, ErrNotUpstream
	}
	return up.Exchange(s)
}
