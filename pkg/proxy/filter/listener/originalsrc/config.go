package originalsrc

import (
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter for the registry. The decoded value is a Filter.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.ListenerFilters,
		Name:     "envoy.filters.listener.original_src",
		Config:   (*originalsrcv3.OriginalSrc)(nil),
		Decode: func(m proto.Message) (any, error) {
			cfg, _ := m.(*originalsrcv3.OriginalSrc) // nil when there was no typed_config
			return Filter{Mark: cfg.GetMark()}, nil
		},
		Support: map[string]extension.Fields{
			// bind_port does nothing in Envoy, either.
			"envoy.extensions.filters.listener.original_src.v3.OriginalSrc": {"mark": {}},
		},
	}
}
