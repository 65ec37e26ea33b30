package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	upstreamtcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/tcp/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// http1 translates HTTP/1 options; nil gives the defaults. streamErrors is the connection manager's
// stream_error_on_invalid_http_message, nil where there is none.
func (c *call) http1(m *corev3.Http1ProtocolOptions, streamErrors *wrapperspb.BoolValue, p *path) model.HTTP1Options {
	out := model.HTTP1Options{
		AcceptHTTP10:       m.GetAcceptHttp_10(),
		DefaultHostHTTP10:  m.GetDefaultHostForHttp_10(),
		EnableTrailers:     m.GetEnableTrailers(),
		AllowAbsoluteURL:   isSet(m.GetAllowAbsoluteUrl(), true),
		AllowChunkedLength: m.GetAllowChunkedLength(),
		AllowCustomMethods: m.GetAllowCustomMethods(),
		StreamErrors:       isSet(m.GetOverrideStreamErrorOnInvalidHttpMessage(), streamErrors.GetValue()),
		SendFullURL:        m.GetSendFullyQualifiedUrl(),
	}
	for i, u := range m.GetIgnoreHttp_11Upgrade() {
		if sm, ok := c.stringMatcher(u, p.elem("ignore_http_11_upgrade", i)); ok {
			out.IgnoreUpgrades = append(out.IgnoreUpgrades, sm)
		}
	}
	switch k := m.GetHeaderKeyFormat().GetHeaderFormat().(type) {
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_ProperCaseWords_:
		out.HeaderFormat = model.HeaderProperCase
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		at := p.field("header_key_format").field("stateful_formatter")
		f, config := c.lookup(extension.HTTP1HeaderFormatters, k.StatefulFormatter.GetName(), k.StatefulFormatter.GetTypedConfig(), false, at)
		if f != nil {
			out.HeaderFormat = model.HeaderPreserveCase
		}
		if keep, ok := config.(*preservev3.PreserveCaseFormatterConfig); ok {
			out.ForwardReason = keep.GetForwardReasonPhrase()
			out.ProperOwnNames = keep.GetFormatterTypeOnEnvoyHeaders() == preservev3.PreserveCaseFormatterConfig_PROPER_CASE
		}
	}
	return out
}

// upstreamHTTP translates which HTTP is spoken to the hosts: the extension, or else the deprecated fields.
func (c *call) upstreamHTTP(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	out.HTTP.HTTP1 = c.http1(m.GetHttpProtocolOptions(), nil, root.field("http_protocol_options"))
	out.HTTP.HTTP2 = c.http2(m.GetHttp2ProtocolOptions(), nil, root.field("http2_protocol_options"))
	if m.GetHttp2ProtocolOptions() != nil {
		out.HTTP.Protocol = model.UpstreamHTTP2
	}
	if m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL {
		out.HTTP.Protocol = model.UpstreamDownstream
	}
	c.commonHTTP(m.GetCommonHttpProtocolOptions(), out, root.field("common_http_protocol_options"))
	sni(m.GetUpstreamHttpProtocolOptions(), out)
	for _, name := range slices.Sorted(maps.Keys(m.GetTypedExtensionProtocolOptions())) {
		a, at := m.GetTypedExtensionProtocolOptions()[name], root.entry("typed_extension_protocol_options", name)
		_, config := c.lookup(extension.UpstreamProtocolOptions, name, a, false, at)
		if tcp, ok := config.(*upstreamtcpv3.TcpProtocolOptions); ok {
			out.TCPIdleTimeout = c.duration(tcp.GetIdleTimeout(), defaultTCPPoolIdle, at, "idle_timeout")
		}
		options, ok := config.(*httpv3.HttpProtocolOptions)
		if !ok {
			continue
		}
		for _, legacy := range []struct {
			name string
			set  bool
		}{
			{"http_protocol_options", m.GetHttpProtocolOptions() != nil},
			{"http2_protocol_options", m.GetHttp2ProtocolOptions() != nil},
			{"common_http_protocol_options", m.GetCommonHttpProtocolOptions() != nil},
			{"upstream_http_protocol_options", m.GetUpstreamHttpProtocolOptions() != nil},
		} {
			if legacy.set {
				c.warn(root.field(legacy.name), "typed_extension_protocol_options takes its place")
			}
		}
		c.httpOptions(options, out, at)
	}
}

// httpOptions translates the protocol options extension.
func (c *call) httpOptions(m *httpv3.HttpProtocolOptions, out *model.Cluster, p *path) {
	out.HTTP = model.UpstreamHTTP{HTTP1: c.http1(nil, nil, p)}
	c.commonHTTP(m.GetCommonHttpProtocolOptions(), out, p.field("common_http_protocol_options"))
	sni(m.GetUpstreamHttpProtocolOptions(), out)
	out.Filters = c.upstreamFilters(m.GetHttpFilters(), p, "http_filters")
	var one *corev3.Http1ProtocolOptions
	var two *corev3.Http2ProtocolOptions
	at := p
	switch k := m.GetUpstreamProtocolOptions().(type) {
	case *httpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		at = p.field("explicit_http_config")
		one, two = k.ExplicitHttpConfig.GetHttpProtocolOptions(), k.ExplicitHttpConfig.GetHttp2ProtocolOptions()
		if two != nil {
			out.HTTP.Protocol = model.UpstreamHTTP2
		}
		if k.ExplicitHttpConfig.GetHttp3ProtocolOptions() != nil {
			c.unsupported(at.field("http3_protocol_options"))
		}
	case *httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		at = p.field("use_downstream_protocol_config")
		one, two = k.UseDownstreamProtocolConfig.GetHttpProtocolOptions(), k.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
		if two != nil {
			out.HTTP.Protocol = model.UpstreamDownstream
		}
	case *httpv3.HttpProtocolOptions_AutoConfig:
		at = p.field("auto_config")
		one, two = k.AutoConfig.GetHttpProtocolOptions(), k.AutoConfig.GetHttp2ProtocolOptions()
		out.HTTP.Protocol = model.UpstreamAuto
		if out.TLS == nil || slices.ContainsFunc(out.TransportSocketMatches, func(m model.TransportSocketMatch) bool { return m.TLS == nil }) {
			c.fail(at, "ALPN configured for cluster %s which has a non-ALPN transport socket", out.Name)
		}
	}
	out.HTTP.HTTP1 = c.http1(one, nil, at.field("http_protocol_options"))
	out.HTTP.HTTP2 = c.http2(two, nil, at.field("http2_protocol_options"))
}

// commonHTTP translates the options of the connection pool; nil changes nothing.
func (c *call) commonHTTP(m *corev3.HttpProtocolOptions, out *model.Cluster, p *path) {
	if m == nil {
		return
	}
	out.IdleTimeout = c.duration(m.GetIdleTimeout(), defaultIdleTimeout, p, "idle_timeout")
	out.MaxConnectionDuration = c.duration(m.GetMaxConnectionDuration(), 0, p, "max_connection_duration")
	if m.GetMaxRequestsPerConnection() != nil {
		out.MaxRequestsPerConnection = int(m.GetMaxRequestsPerConnection().GetValue())
	}
	out.MaxStreamDuration = c.duration(m.GetMaxStreamDuration(), 0, p, "max_stream_duration")
	out.HTTP.MaxHeadersCount = int(m.GetMaxHeadersCount().GetValue())
	out.HTTP.MaxHeadersBytes = int(min(m.GetMaxResponseHeadersKb().GetValue(), maxHeadersKB)) << 10
	if m.GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_ALLOW {
		c.warn(p.field("headers_with_underscores_action"), "only concerns requests of clients, and has no effect on clusters")
	}
}

// sni takes over how server name and verification follow the request; plain text has nothing to do with it.
func sni(m *corev3.UpstreamHttpProtocolOptions, out *model.Cluster) {
	if m == nil {
		return
	}
	out.SNIHeader = strings.ToLower(m.GetOverrideAutoSniHeader())
	set := func(t *model.UpstreamTLS) {
		if t != nil {
			t.AutoSNI = m.GetAutoSni()
			t.AutoSAN = t.AutoSAN || m.GetAutoSanValidation()
		}
	}
	set(out.TLS)
	for i := range out.TransportSocketMatches {
		set(out.TransportSocketMatches[i].TLS)
	}
}
