package grpcweb

import (
	webv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter: envoy.filters.http.grpc_web.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.HTTPFilters,
		Name:     "envoy.filters.http.grpc_web",
		Aliases:  []string{"envoy.grpc_web"},
		Config:   &webv3.GrpcWeb{},
		Decode:   func(proto.Message) (any, error) { return &Config{}, nil },
		Support:  map[string]extension.Fields{"envoy.extensions.filters.http.grpc_web.v3.GrpcWeb": {}},
	}
}
