package translate

//lint:file-ignore SA1019 event_log_path is deprecated and still set by configurations.

import (
	"encoding/hex"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	filesinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of health checks.
const (
	defaultNoTraffic      = 60 * time.Second
	defaultResponseBuffer = 1024
)

// healthChecks translates the active checks of a cluster.
func (c *call) healthChecks(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	out.IgnoreHealthOnRemoval = m.GetIgnoreHealthOnHostRemoval()
	out.CloseOnUnhealthy = m.GetCloseConnectionsOnHostHealthFailure()
	out.IgnoreNewHosts = m.GetCommonLbConfig().GetIgnoreNewHostsUntilFirstHc()
	switch n := len(m.GetHealthChecks()); {
	case n > 1 && !c.meta.ManyHealthChecks:
		c.fail(root.field("health_checks"), "Multiple health checks not supported")
		return
	case n > 0 && out.Type == model.ClusterOriginalDst:
		c.fail(root.field("health_checks"), "hosts of ORIGINAL_DST clusters are made by connections and cannot be health checked")
		return
	}
	for i, h := range m.GetHealthChecks() {
		if check := c.healthCheck(h, root.elem("health_checks", i)); check != nil {
			out.HealthChecks = append(out.HealthChecks, check)
		}
	}
}

// healthCheck translates one check; nil after an error.
func (c *call) healthCheck(m *corev3.HealthCheck, p *path) *model.HealthCheck {
	out := &model.HealthCheck{
		Timeout: c.duration(m.GetTimeout(), time.Second, p, "timeout"), Interval: c.duration(m.GetInterval(), time.Second, p, "interval"),
		InitialJitter: c.duration(m.GetInitialJitter(), 0, p, "initial_jitter"), IntervalJitter: c.duration(m.GetIntervalJitter(), 0, p, "interval_jitter"),
		IntervalJitterPercent: m.GetIntervalJitterPercent(),
		UnhealthyThreshold:    u32(m.GetUnhealthyThreshold(), 1), HealthyThreshold: u32(m.GetHealthyThreshold(), 1),
		ReuseConnection:   isSet(m.GetReuseConnection(), true),
		NoTrafficInterval: c.duration(m.GetNoTrafficInterval(), defaultNoTraffic, p, "no_traffic_interval"),
		LogFailures:       m.GetAlwaysLogHealthCheckFailures(), LogSuccess: m.GetAlwaysLogHealthCheckSuccess(),
		ALPN: m.GetTlsOptions().GetAlpnProtocols(), EventLog: m.GetEventLogPath(),
	}
	out.NoTrafficHealthyInterval = c.duration(m.GetNoTrafficHealthyInterval(), out.NoTrafficInterval, p, "no_traffic_healthy_interval")
	out.UnhealthyInterval = c.duration(m.GetUnhealthyInterval(), out.Interval, p, "unhealthy_interval")
	out.UnhealthyEdgeInterval = c.duration(m.GetUnhealthyEdgeInterval(), out.UnhealthyInterval, p, "unhealthy_edge_interval")
	out.HealthyEdgeInterval = c.duration(m.GetHealthyEdgeInterval(), out.Interval, p, "healthy_edge_interval")
	if s := m.GetTransportSocketMatchCriteria(); s != nil {
		out.SocketMatch = s.AsMap()
	}
	c.eventLoggers(m, out, p)
	switch k := m.GetHealthChecker().(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		out.HTTP = c.httpCheck(k.HttpHealthCheck, p.field("http_health_check"))
	case *corev3.HealthCheck_TcpHealthCheck_:
		out.TCP = c.tcpCheck(k.TcpHealthCheck, p.field("tcp_health_check"))
	case *corev3.HealthCheck_GrpcHealthCheck_:
		at := p.field("grpc_health_check")
		out.GRPC = &model.GRPCHealthCheck{
			Service: k.GrpcHealthCheck.GetServiceName(), Authority: k.GrpcHealthCheck.GetAuthority(),
			Metadata: c.checkHeaders(k.GrpcHealthCheck.GetInitialMetadata(), at, "initial_metadata"),
		}
	case *corev3.HealthCheck_CustomHealthCheck_:
		c.fail(p.field("custom_health_check"), "health checker %s is not supported by weir", k.CustomHealthCheck.GetName())
		return nil
	default:
		c.fail(p, "one of http_health_check, tcp_health_check and grpc_health_check must be set")
		return nil
	}
	return out
}

// eventLoggers translates the sinks of the event log: files, of which the last one is written.
func (c *call) eventLoggers(m *corev3.HealthCheck, out *model.HealthCheck, p *path) {
	for i, e := range m.GetEventLogger() {
		at := p.elem("event_logger", i).field("typed_config")
		sink, ok := c.unpack(e.GetTypedConfig(), at).(*filesinkv3.HealthCheckEventFileSink)
		if !ok {
			c.warn(at, "health check events are not sent: only %s is supported", "envoy.health_check.event_sink.file")
			continue
		}
		out.EventLog = sink.GetEventLogPath()
	}
}

func (c *call) httpCheck(m *corev3.HealthCheck_HttpHealthCheck, p *path) *model.HTTPHealthCheck {
	out := &model.HTTPHealthCheck{
		Host: m.GetHost(), Path: m.GetPath(), Method: "GET", Remove: m.GetRequestHeadersToRemove(), BufferSize: defaultResponseBuffer,
		Send: c.payload(m.GetSend(), p.field("send")), Receive: c.payloads(m.GetReceive(), p),
		Add:      c.checkHeaders(m.GetRequestHeadersToAdd(), p, "request_headers_to_add"),
		Expected: c.statuses(m.GetExpectedStatuses(), p, "expected_statuses"), Retriable: c.statuses(m.GetRetriableStatuses(), p, "retriable_statuses"),
	}
	if len(out.Expected) == 0 {
		out.Expected = []model.StatusRange{{Start: 200, End: 201}}
	}
	if n := m.GetResponseBufferSize(); n != nil {
		out.BufferSize = n.GetValue()
	}
	switch m.GetCodecClientType() {
	case typev3.CodecClientType_HTTP2:
		out.HTTP2 = true
	case typev3.CodecClientType_HTTP3:
		c.unsupported(p.field("codec_client_type"))
	}
	if s := m.GetServiceNameMatcher(); s != nil {
		if match, ok := c.stringMatcher(s, p.field("service_name_matcher")); ok {
			out.ServiceName = &match
		}
	}
	if m.GetMethod() != corev3.RequestMethod_METHOD_UNSPECIFIED {
		out.Method = m.GetMethod().String()
	}
	if out.Send != nil && (out.Method == "GET" || out.Method == "HEAD" || out.Method == "DELETE" || out.Method == "TRACE") {
		c.fail(p.field("send"), "%s requests of health checks cannot have a body", out.Method)
	}
	return out
}

func (c *call) tcpCheck(m *corev3.HealthCheck_TcpHealthCheck, p *path) *model.TCPHealthCheck {
	return &model.TCPHealthCheck{Send: c.payload(m.GetSend(), p.field("send")), Receive: c.payloads(m.GetReceive(), p)}
}

// payload decodes what is sent or expected; nil when nothing is.
func (c *call) payload(m *corev3.HealthCheck_Payload, p *path) []byte {
	switch k := m.GetPayload().(type) {
	case *corev3.HealthCheck_Payload_Text:
		b, err := hex.DecodeString(k.Text)
		if err != nil {
			c.fail(p.field("text"), "invalid hex string '%s'", k.Text)
		}
		return b
	case *corev3.HealthCheck_Payload_Binary:
		return k.Binary
	}
	return nil
}

func (c *call) payloads(list []*corev3.HealthCheck_Payload, p *path) [][]byte {
	var out [][]byte
	for i, m := range list {
		out = append(out, c.payload(m, p.elem("receive", i)))
	}
	return out
}

func (c *call) statuses(list []*typev3.Int64Range, p *path, name string) []model.StatusRange {
	var out []model.StatusRange
	for i, r := range list {
		if r.GetStart() >= r.GetEnd() || r.GetStart() < 100 || r.GetEnd() > 600 {
			c.fail(p.elem(name, i), "Invalid http status range: expecting start >= 100, end <= 600 and start < end, but found start=%d and end=%d", r.GetStart(), r.GetEnd())
			continue
		}
		out = append(out, model.StatusRange{Start: int(r.GetStart()), End: int(r.GetEnd())})
	}
	return out
}

// checkHeaders translates headers of checks, which are sent as they are: there is no request that a command operator could
// look at.
func (c *call) checkHeaders(list []*corev3.HeaderValueOption, p *path, name string) []model.HealthCheckHeader {
	var out []model.HealthCheckHeader
	for i, h := range list {
		value := strings.ReplaceAll(h.GetHeader().GetValue(), "%%", "%")
		if strings.Count(value, "%") > 1 {
			c.warn(p.elem(name, i).field("header").field("value"), "command operators are sent as they are in health checks")
		}
		appends := h.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		if h.GetAppend() != nil {
			appends = h.GetAppend().GetValue()
		}
		if raw := h.GetHeader().GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		out = append(out, model.HealthCheckHeader{Name: h.GetHeader().GetKey(), Value: value, Append: appends})
	}
	return out
}

// endpointCheck translates how one endpoint is checked; nil when like the others.
func (c *call) endpointCheck(m *endpointv3.Endpoint_HealthCheckConfig, p *path) *model.EndpointHealthCheck {
	if m == nil {
		return nil
	}
	out := &model.EndpointHealthCheck{
		Disabled: m.GetDisableActiveHealthCheck(), Port: c.port(m.GetPortValue(), p.field("port_value")), Hostname: m.GetHostname(),
	}
	if a := m.GetAddress(); a != nil {
		at := p.field("address")
		if out.Port != 0 {
			c.fail(at, "Only one of 'port_value' or 'address' can be set")
		}
		s := a.GetSocketAddress()
		if s == nil {
			c.fail(at, "only socket addresses are supported")
			return out
		}
		if ip, ok := c.ipAddress(s, at.field("socket_address")); ok {
			out.Address = ip
		}
	}
	return out
}
