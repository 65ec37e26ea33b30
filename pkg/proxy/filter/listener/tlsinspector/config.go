package tlsinspector

import (
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter for the registry. The decoded value is a *Filter.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.ListenerFilters,
		Name:     "envoy.filters.listener.tls_inspector",
		Aliases:  []string{"envoy.listener.tls_inspector"},
		Config:   (*tlsinspectorv3.TlsInspector)(nil),
		Decode: func(m proto.Message) (any, error) {
			cfg, _ := m.(*tlsinspectorv3.TlsInspector) // nil when there was no typed_config
			return New(cfg.GetCloseConnectionOnClientHelloParsingErrors()), nil
		},
		Support: map[string]extension.Fields{
			"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": {
				"close_connection_on_client_hello_parsing_errors": {},
				"initial_read_buffer_size":                        {Harmless: "buffers are pooled"},
			},
		},
	}
}
