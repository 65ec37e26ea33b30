package grpchttp1bridge

import (
	bridgev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter: envoy.filters.http.grpc_http1_bridge.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.HTTPFilters,
		Name:     "envoy.filters.http.grpc_http1_bridge",
		Aliases:  []string{"envoy.grpc_http1_bridge"},
		Config:   &bridgev3.Config{},
		Decode: func(m proto.Message) (any, error) {
			c := m.(*bridgev3.Config)
			return &Config{UpgradeProtobuf: c.GetUpgradeProtobufToGrpc(), IgnoreQuery: c.GetIgnoreQueryParameters()}, nil
		},
		Support: map[string]extension.Fields{"envoy.extensions.filters.http.grpc_http1_bridge.v3.Config": {
			"upgrade_protobuf_to_grpc": {}, "ignore_query_parameters": {},
		}},
	}
}
