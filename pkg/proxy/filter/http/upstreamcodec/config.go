package upstreamcodec

import (
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter: envoy.filters.http.upstream_codec.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.UpstreamHTTPFilters,
		Name:     "envoy.filters.http.upstream_codec",
		Config:   &codecv3.UpstreamCodec{},
		Decode:   func(proto.Message) (any, error) { return Filter{}, nil },
		Terminal: true,
		Support:  map[string]extension.Fields{"envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec": {}},
	}
}
