package httprouter

import (
	"fmt"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// Factories describes the filter: envoy.filters.http.router.
func Factories() []extension.Factory {
	return []extension.Factory{{
		Category: extension.HTTPFilters,
		Name:     "envoy.filters.http.router",
		Aliases:  []string{"envoy.router"},
		Config:   &routerv3.Router{},
		Decode:   func(m proto.Message) (any, error) { return decode(m.(*routerv3.Router)) },
		Terminal: true,
		Support: map[string]extension.Fields{"envoy.extensions.filters.http.router.v3.Router.UpstreamAccessLogOptions": {
			"flush_upstream_log_on_upstream_stream": {},
			"upstream_log_flush_interval":           {},
		}, "envoy.extensions.filters.http.router.v3.Router": {
			"upstream_log":                             {},
			"upstream_log_options":                     {},
			"dynamic_stats":                            {},
			"suppress_envoy_headers":                   {},
			"respect_expected_rq_timeout":              {},
			"upstream_http_filters":                    {},
			"strict_check_headers":                     {},
			"suppress_grpc_request_failure_code_stats": {},
			"start_child_span":                         {Harmless: "there is no tracing that it could change"},
		}},
	}}
}

func decode(m *routerv3.Router) (*Config, error) {
	c := &Config{
		DynamicStats:             m.GetDynamicStats() == nil || m.GetDynamicStats().GetValue(),
		SuppressEnvoyHeaders:     m.GetSuppressEnvoyHeaders(),
		RespectExpectedTimeout:   m.GetRespectExpectedRqTimeout(),
		LogUpstreamStream:        m.GetUpstreamLogOptions().GetFlushUpstreamLogOnUpstreamStream(),
		SuppressGRPCFailureStats: m.GetSuppressGrpcRequestFailureCodeStats(),
	}
	if d := m.GetUpstreamLogOptions().GetUpstreamLogFlushInterval(); d != nil {
		if d.CheckValid() != nil || d.AsDuration() < time.Millisecond {
			return nil, fmt.Errorf("upstream_log_options.upstream_log_flush_interval: %v is less than 1ms", d.AsDuration())
		}
		c.UpstreamLogInterval = d.AsDuration()
	}
	for i, name := range m.GetStrictCheckHeaders() {
		id := message.IDOf(name)
		switch id {
		case message.XEnvoyUpstreamRQTimeoutMS, message.XEnvoyUpstreamRQPerTryTimeoutMS, message.XEnvoyMaxRetries,
			message.XEnvoyRetryOn, message.XEnvoyRetryGRPCOn:
		default:
			return nil, fmt.Errorf("strict_check_headers[%d]: %q is not a header that can be checked", i, name)
		}
		c.StrictCheckHeaders = append(c.StrictCheckHeaders, id)
	}
	return c, nil
}
