package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of config sources.
const (
	defaultFetchTimeout   = 15 * time.Second
	defaultRequestTimeout = time.Second
	defaultBackOffBase    = 500 * time.Millisecond
	defaultBackOffMax     = 30 * time.Second
	defaultRateTokens     = 100
	defaultRateFill       = 10
)

// source translates a ConfigSource; nil stays nil.
func (c *call) source(s *corev3.ConfigSource, p *path) *model.Source {
	if s == nil {
		return nil
	}
	var authorities []string
	for _, a := range s.GetAuthorities() {
		authorities = append(authorities, a.GetName())
	}
	out := &model.Source{Authorities: authorities, InitialFetchTimeout: c.duration(s.GetInitialFetchTimeout(), defaultFetchTimeout, p, "initial_fetch_timeout")}
	switch k := s.GetConfigSourceSpecifier().(type) {
	case *corev3.ConfigSource_Ads:
		out.Kind = model.SourceADS
	case *corev3.ConfigSource_Self:
		out.Kind = model.SourceSelf
	case *corev3.ConfigSource_Path:
		out.Kind, out.Path = model.SourcePath, k.Path
	case *corev3.ConfigSource_PathConfigSource:
		out.Kind, out.Path = model.SourcePath, k.PathConfigSource.GetPath()
		out.WatchedDirectory = k.PathConfigSource.GetWatchedDirectory().GetPath()
	case *corev3.ConfigSource_ApiConfigSource:
		out.Kind, out.API = model.SourceAPI, c.apiSource(k.ApiConfigSource, p.field("api_config_source"))
	default:
		// Validation has reported that nothing is set.
		return nil
	}
	if s.GetResourceApiVersion() == corev3.ApiVersion_V2 {
		c.fail(p.field("resource_api_version"), "V2 is no longer supported")
	}
	if out.Kind == model.SourcePath && out.Path == "" {
		c.fail(p, "the path is empty")
	}
	return out
}

// apiSource translates an ApiConfigSource; nil stays nil.
func (c *call) apiSource(s *corev3.ApiConfigSource, p *path) *model.APISource {
	if s == nil {
		return nil
	}
	out := &model.APISource{
		NodeOnFirstMessageOnly: s.GetSetNodeOnFirstMessageOnly(),
	}
	if v := s.GetTransportApiVersion(); v != corev3.ApiVersion_V3 {
		c.fail(p.field("transport_api_version"), "must be V3, is %s", v)
	}
	if r := s.GetRateLimitSettings(); r != nil {
		out.RateLimit = &model.RequestRateLimit{MaxTokens: u32(r.GetMaxTokens(), defaultRateTokens), FillRate: defaultRateFill}
		if r.GetFillRate() != nil {
			out.RateLimit.FillRate = r.GetFillRate().GetValue()
		}
	}
	for i, g := range s.GetGrpcServices() {
		if service, ok := c.grpcService(g, p.elem("grpc_services", i)); ok {
			out.Services = append(out.Services, service)
		}
	}
	c.apiType(s, out, p)
	return out
}

// apiType sets the type and checks that its servers are given.
func (c *call) apiType(s *corev3.ApiConfigSource, out *model.APISource, p *path) {
	switch s.GetApiType() {
	case corev3.ApiConfigSource_REST:
		out.Type = model.APIREST
		c.restSource(s, out, p)
		return
	case corev3.ApiConfigSource_GRPC:
		out.Type = model.APIGRPC
	case corev3.ApiConfigSource_DELTA_GRPC:
		out.Type = model.APIDeltaGRPC
	case corev3.ApiConfigSource_AGGREGATED_GRPC:
		out.Type = model.APIAggregatedGRPC
	case corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC:
		out.Type = model.APIAggregatedDeltaGRPC
	default:
		c.fail(p.field("api_type"), "%s is not supported", s.GetApiType())
		return
	}
	if len(s.GetGrpcServices()) == 0 {
		c.fail(p.field("grpc_services"), "%s needs a gRPC service", s.GetApiType())
	}
	if len(s.GetClusterNames()) > 0 {
		c.fail(p.field("cluster_names"), "must not be set for %s", s.GetApiType())
	}
}

// restSource translates what only REST has.
func (c *call) restSource(s *corev3.ApiConfigSource, out *model.APISource, p *path) {
	out.Clusters = s.GetClusterNames()
	if len(out.Clusters) == 0 {
		c.fail(p.field("cluster_names"), "REST needs the name of a cluster")
	}
	if slices.Contains(out.Clusters, "") {
		c.fail(p.field("cluster_names"), "the name of a cluster is empty")
	}
	if len(s.GetGrpcServices()) > 0 {
		c.fail(p.field("grpc_services"), "must not be set for REST")
	}
	out.RefreshDelay = c.duration(s.GetRefreshDelay(), 0, p, "refresh_delay")
	if out.RefreshDelay <= 0 {
		c.fail(p.field("refresh_delay"), "REST needs a delay between two polls")
	}
	out.RequestTimeout = c.duration(s.GetRequestTimeout(), defaultRequestTimeout, p, "request_timeout")
}

// grpcService translates a gRPC service.
func (c *call) grpcService(g *corev3.GrpcService, p *path) (model.GRPCService, bool) {
	out := model.GRPCService{BackOffBase: defaultBackOffBase, BackOffMax: defaultBackOffMax}
	for _, h := range g.GetInitialMetadata() {
		out.InitialMetadata = append(out.InitialMetadata, model.NameValue{Name: h.GetKey(), Value: headerValue(h)})
	}
	switch {
	case g.GetEnvoyGrpc() != nil:
		e, at := g.GetEnvoyGrpc(), p.field("envoy_grpc")
		out.Cluster, out.Authority = e.GetClusterName(), e.GetAuthority()
		out.MaxReceiveMessageLength = e.GetMaxReceiveMessageLength().GetValue()
		c.backOff(e.GetRetryPolicy(), &out, at)
	case g.GetGoogleGrpc() != nil:
		c.googleService(g.GetGoogleGrpc(), &out, p.field("google_grpc"))
	default:
		return out, false // validation has reported that nothing is set
	}
	// GrpcService.retry_policy is of calls; streams to control planes take that of envoy_grpc.
	return out, true
}

// backOff translates the wait between two streams. Without a maximum it is ten times the base, as in Envoy.
func (c *call) backOff(r *corev3.RetryPolicy, out *model.GRPCService, p *path) {
	b := r.GetRetryBackOff()
	if b == nil {
		return
	}
	at := p.field("retry_policy").field("retry_back_off")
	out.BackOffBase = c.duration(b.GetBaseInterval(), defaultBackOffBase, at, "base_interval")
	out.BackOffMax = c.duration(b.GetMaxInterval(), 10*out.BackOffBase, at, "max_interval")
	if out.BackOffMax < out.BackOffBase {
		c.fail(at.field("max_interval"), "must be at least base_interval")
	}
}

// headerValue is the value of h, whichever field it is in.
func headerValue(h *corev3.HeaderValue) string {
	if len(h.GetRawValue()) > 0 {
		return string(h.GetRawValue())
	}
	return h.GetValue()
}
