package httpinspector

import (
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter for the registry. The decoded value is a *Filter.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.ListenerFilters,
		Name:     "envoy.filters.listener.http_inspector",
		Aliases:  []string{"envoy.listener.http_inspector"},
		Config:   (*httpinspectorv3.HttpInspector)(nil),
		Decode:   func(proto.Message) (any, error) { return New(), nil },
		Support:  map[string]extension.Fields{"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": {}},
	}
}
