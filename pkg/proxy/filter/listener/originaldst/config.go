package originaldst

import (
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter for the registry.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.ListenerFilters,
		Name:     "envoy.filters.listener.original_dst",
		Aliases:  []string{"envoy.listener.original_dst"},
		Config:   (*originaldstv3.OriginalDst)(nil),
		Decode:   func(proto.Message) (any, error) { return Filter{}, nil },
	}
}
