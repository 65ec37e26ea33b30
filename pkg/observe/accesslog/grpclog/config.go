package grpclog

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/accesslog"
)

// Envoy's defaults: an entry waits at most a second, and until 16 KiB are together.
const (
	defaultInterval = time.Second
	defaultSize     = 16 << 10
)

// config is a decoded logger. It is immutable.
type config struct {
	target
	// The names, in lower case, of further headers that are sent; HTTP only.
	request, response, trailers []string
}

// target is what loggers share a stream by.
type target struct {
	http bool
	name string
	// cluster, authority and metadata (NAME=VALUE lines) say how the service is reached.
	cluster, authority, metadata string
	interval                     time.Duration
	size                         int
}

var _ accesslog.Builder = (*config)(nil)

// Factories describes envoy.access_loggers.http_grpc and .tcp_grpc.
func Factories() []extension.Factory {
	common := extension.Fields{
		"log_name": {}, "grpc_service": {}, "transport_api_version": {}, "buffer_flush_interval": {}, "buffer_size_bytes": {},
	}
	const pkg = "envoy.extensions.access_loggers.grpc.v3."
	return []extension.Factory{
		{
			Category: extension.AccessLoggers, Name: "envoy.access_loggers.http_grpc", Aliases: []string{"envoy.http_grpc_access_log"},
			Config: &grpcv3.HttpGrpcAccessLogConfig{},
			Decode: func(m proto.Message) (any, error) { return decodeHTTP(m.(*grpcv3.HttpGrpcAccessLogConfig)) },
			Support: map[string]extension.Fields{
				pkg + "HttpGrpcAccessLogConfig": {
					"common_config": {}, "additional_request_headers_to_log": {}, "additional_response_headers_to_log": {}, "additional_response_trailers_to_log": {},
				},
				pkg + "CommonGrpcAccessLogConfig": common,
			},
		},
		{
			Category: extension.AccessLoggers, Name: "envoy.access_loggers.tcp_grpc", Aliases: []string{"envoy.tcp_grpc_access_log"},
			Config: &grpcv3.TcpGrpcAccessLogConfig{},
			Decode: func(m proto.Message) (any, error) {
				return decodeCommon(m.(*grpcv3.TcpGrpcAccessLogConfig).GetCommonConfig(), false)
			},
			Support: map[string]extension.Fields{pkg + "TcpGrpcAccessLogConfig": {"common_config": {}}, pkg + "CommonGrpcAccessLogConfig": common},
		},
	}
}

func decodeHTTP(m *grpcv3.HttpGrpcAccessLogConfig) (*config, error) {
	c, err := decodeCommon(m.GetCommonConfig(), true)
	if err != nil {
		return nil, err
	}
	c.request = lower(m.GetAdditionalRequestHeadersToLog())
	c.response = lower(m.GetAdditionalResponseHeadersToLog())
	c.trailers = lower(m.GetAdditionalResponseTrailersToLog())
	return c, nil
}

func lower(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		out = append(out, strings.ToLower(n))
	}
	return out
}

func decodeCommon(m *grpcv3.CommonGrpcAccessLogConfig, http bool) (*config, error) {
	c := &config{target: target{http: http, name: m.GetLogName(), interval: defaultInterval, size: defaultSize}}
	if v := m.GetTransportApiVersion(); v != corev3.ApiVersion_V3 {
		return nil, fmt.Errorf("common_config.transport_api_version: must be V3, is %s", v)
	}
	if d := m.GetBufferFlushInterval(); d != nil {
		if c.interval = d.AsDuration(); c.interval <= 0 {
			return nil, errors.New("common_config.buffer_flush_interval: must be above 0")
		}
	}
	if s := m.GetBufferSizeBytes(); s != nil {
		c.size = int(s.GetValue())
	}
	e := m.GetGrpcService().GetEnvoyGrpc()
	if e == nil {
		return nil, errors.New("common_config.grpc_service: only envoy_grpc is supported")
	}
	c.cluster, c.authority = e.GetClusterName(), e.GetAuthority()
	for _, h := range m.GetGrpcService().GetInitialMetadata() {
		c.metadata += strings.ToLower(h.GetKey()) + "=" + h.GetValue() + "\n"
	}
	return c, nil
}

// service is the server in the form that dials.
func (t *target) service() model.GRPCService {
	return model.GRPCService{Cluster: t.cluster, Authority: t.authority}
}
