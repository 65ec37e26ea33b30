package buffer

import (
	"errors"
	"math"

	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
)

// Factory describes the filter: envoy.filters.http.buffer, which is an upstream filter as well.
func Factory() extension.Factory {
	const pkg = "envoy.extensions.filters.http.buffer.v3."
	return extension.Factory{
		Category:       extension.HTTPFilters,
		AlsoIn:         []string{extension.UpstreamHTTPFilters},
		Name:           "envoy.filters.http.buffer",
		Aliases:        []string{"envoy.buffer"},
		Config:         &bufferv3.Buffer{},
		Decode:         func(m proto.Message) (any, error) { return decode(m.(*bufferv3.Buffer)) },
		PerRoute:       &bufferv3.BufferPerRoute{},
		DecodePerRoute: func(m proto.Message) (any, error) { return decodePerRoute(m.(*bufferv3.BufferPerRoute)) },
		Support: map[string]extension.Fields{
			pkg + "Buffer":         {"max_request_bytes": {}},
			pkg + "BufferPerRoute": {"disabled": {}, "buffer": {}},
		},
	}
}

func decode(m *bufferv3.Buffer) (*Config, error) {
	n := m.GetMaxRequestBytes().GetValue()
	if n == 0 {
		return nil, errors.New("max_request_bytes: must be greater than 0")
	}
	return &Config{MaxRequestBytes: int(min(n, math.MaxInt32))}, nil
}

func decodePerRoute(m *bufferv3.BufferPerRoute) (*PerRoute, error) {
	if m.GetBuffer() == nil {
		if !m.GetDisabled() {
			return nil, errors.New("override: must be disabled or a buffer")
		}
		return &PerRoute{Disabled: true}, nil
	}
	c, err := decode(m.GetBuffer())
	if err != nil {
		return nil, err
	}
	return &PerRoute{Config: *c}, nil
}
