package translate

import (
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of the HTTP connection manager.
const (
	defaultServerName        = "envoy"
	defaultIdleTimeout       = time.Hour
	defaultTCPPoolIdle       = 10 * time.Minute
	defaultStreamIdleTimeout = 5 * time.Minute
	defaultDrainTimeout      = 5 * time.Second
	defaultDelayedClose      = time.Second
	defaultHeadersKB         = 60
	maxHeadersKB             = 8192
	defaultHeadersCount      = 100
)

// internalRanges is what Envoy 1.32 takes as internal when nothing is configured: RFC 1918, RFC 4193 (locally assigned)
// and the loopback addresses.
func internalRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::1/128"),
	}
}

// hcm translates an HTTP connection manager.
func (c *call) hcm(m *hcmv3.HttpConnectionManager, p *path) *model.HTTPConnectionManager {
	out := &model.HTTPConnectionManager{
		StatPrefix:        m.GetStatPrefix(),
		HTTPFilters:       c.httpFilters(extension.HTTPFilters, "http", m.GetHttpFilters(), p.field("http_filters")),
		AccessLogs:        c.accessLogs(m.GetAccessLog(), p, "access_log"),
		ServerName:        m.GetServerName(),
		ServerHeader:      model.ServerHeaderMode(m.GetServerHeaderTransformation()),
		GenerateRequestID: isSet(m.GetGenerateRequestId(), true),
		PreserveRequestID: m.GetPreserveExternalRequestId(),
		ResponseRequestID: m.GetAlwaysSetRequestIdInResponse(),
		UseRemoteAddress:  m.GetUseRemoteAddress().GetValue(),
		XFFNumTrustedHops: m.GetXffNumTrustedHops(),
		SkipXFFAppend:     m.GetSkipXffAppend(),
		Via:               m.GetVia(),
		AddUserAgent:      m.GetAddUserAgent().GetValue(),
		InternalCIDRs:     internalRanges(),
		NormalizePath:     m.GetNormalizePath().GetValue(),
		MergeSlashes:      m.GetMergeSlashes(),
		StripMatchingPort: m.GetStripMatchingHostPort(),
		StripAnyHostPort:  m.GetStripAnyHostPort(),
		StripTrailingDot:  m.GetStripTrailingHostDot(),
		SchemeOverwrite:   m.GetSchemeHeaderTransformation().GetSchemeToOverwrite(),
		HTTP1:             c.http1(m.GetHttpProtocolOptions(), m.GetStreamErrorOnInvalidHttpMessage(), p.field("http_protocol_options")),
		HTTP2:             c.http2(m.GetHttp2ProtocolOptions(), m.GetStreamErrorOnInvalidHttpMessage(), p.field("http2_protocol_options")),
		Proxy100Continue:  m.GetProxy_100Continue(),
	}
	if out.ServerName == "" {
		out.ServerName = defaultServerName
	}
	out.InternalDefault = m.GetInternalAddressConfig() == nil
	if a := m.GetInternalAddressConfig(); a != nil {
		out.InternalCIDRs = append([]netip.Prefix{}, c.prefixes(a.GetCidrRanges(), p.field("internal_address_config"), "cidr_ranges")...)
	}
	c.hcmEnums(m, out, p)
	c.hcmLimits(m, out, p)
	c.hcmRoutes(m, out, p)
	c.hcmUpgrades(m, out, p)
	c.hcmDetails(m, out, p)
	out.PackTraceReason = c.packTraceReason(m.GetRequestIdExtension(), p.field("request_id_extension"))
	if len(m.GetHttpFilters()) == 0 {
		c.fail(p.field("http_filters"), "no HTTP filters: the last one must be terminal, such as envoy.filters.http.router")
	}
	c.checkOverrides(out, p.field("route_config"))
	return out
}

// hcmEnums translates the enumerations.
func (c *call) hcmEnums(m *hcmv3.HttpConnectionManager, out *model.HTTPConnectionManager, p *path) {
	switch m.GetCodecType() {
	case hcmv3.HttpConnectionManager_AUTO:
		out.CodecType = model.CodecAuto
	case hcmv3.HttpConnectionManager_HTTP1:
		out.CodecType = model.CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		out.CodecType = model.CodecHTTP2
	default:
		c.fail(p.field("codec_type"), "%s is not supported by weir", m.GetCodecType())
	}
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		out.EscapedSlashes = model.EscapedReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		out.EscapedSlashes = model.EscapedUnescapeRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		out.EscapedSlashes = model.EscapedUnescapeForward
	}
	switch m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() {
	case corev3.HttpProtocolOptions_REJECT_REQUEST:
		out.UnderscoresAction = model.UnderscoresReject
	case corev3.HttpProtocolOptions_DROP_HEADER:
		out.UnderscoresAction = model.UnderscoresDrop
	}
}

// hcmLimits translates timeouts and sizes.
func (c *call) hcmLimits(m *hcmv3.HttpConnectionManager, out *model.HTTPConnectionManager, p *path) {
	common, at := m.GetCommonHttpProtocolOptions(), p.field("common_http_protocol_options")
	out.IdleTimeout = c.duration(common.GetIdleTimeout(), defaultIdleTimeout, at, "idle_timeout")
	out.MaxConnectionDuration = c.duration(common.GetMaxConnectionDuration(), 0, at, "max_connection_duration")
	out.MaxStreamDuration = c.duration(common.GetMaxStreamDuration(), 0, at, "max_stream_duration")
	out.MaxHeadersCount = int(u32(common.GetMaxHeadersCount(), defaultHeadersCount))
	out.MaxRequestsPerConnection = int(common.GetMaxRequestsPerConnection().GetValue())
	if common.GetMaxResponseHeadersKb() != nil {
		c.warn(at.field("max_response_headers_kb"), "only concerns responses of hosts, and has no effect on clients")
	}
	out.StreamIdleTimeout = c.duration(m.GetStreamIdleTimeout(), defaultStreamIdleTimeout, p, "stream_idle_timeout")
	out.RequestTimeout = c.duration(m.GetRequestTimeout(), 0, p, "request_timeout")
	out.RequestHeadersTimeout = c.duration(m.GetRequestHeadersTimeout(), 0, p, "request_headers_timeout")
	out.DelayedCloseTimeout = c.duration(m.GetDelayedCloseTimeout(), defaultDelayedClose, p, "delayed_close_timeout")
	out.DrainTimeout = c.duration(m.GetDrainTimeout(), defaultDrainTimeout, p, "drain_timeout")
	kb := u32(m.GetMaxRequestHeadersKb(), defaultHeadersKB)
	if kb > maxHeadersKB {
		kb = maxHeadersKB
	}
	out.MaxRequestHeadersBytes = int(kb) << 10
}

// hcmRoutes translates where routes come from.
func (c *call) hcmRoutes(m *hcmv3.HttpConnectionManager, out *model.HTTPConnectionManager, p *path) {
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_RouteConfig:
		out.InlineRoutes = c.routes(r.RouteConfig, p.field("route_config"), true)
		out.RouteConfigName = r.RouteConfig.GetName()
		c.inlineVHDS(out.InlineRoutes, p.field("route_config"))
	case *hcmv3.HttpConnectionManager_Rds:
		at := p.field("rds")
		out.RouteConfigName = r.Rds.GetRouteConfigName()
		out.RouteSource = c.source(r.Rds.GetConfigSource(), at.field("config_source"))
		if out.RouteConfigName == "" {
			c.fail(at.field("route_config_name"), "must not be empty")
		}
	case *hcmv3.HttpConnectionManager_ScopedRoutes:
		out.Scoped = c.scopedRoutes(r.ScopedRoutes, p.field("scoped_routes"))
	}
}

// hcmUpgrades translates the upgrade types.
func (c *call) hcmUpgrades(m *hcmv3.HttpConnectionManager, out *model.HTTPConnectionManager, p *path) {
	seen := map[string]bool{}
	for i, u := range m.GetUpgradeConfigs() {
		at := p.elem("upgrade_configs", i)
		if key := strings.ToLower(u.GetUpgradeType()); seen[key] {
			c.fail(at.field("upgrade_type"), "multiple upgrade configurations for %s", u.GetUpgradeType())
		} else {
			seen[key] = true
		}
		up := model.Upgrade{Type: u.GetUpgradeType(), Disabled: !isSet(u.GetEnabled(), true)}
		if len(u.GetFilters()) > 0 {
			up.Filters = c.httpFilters(extension.HTTPFilters, "http upgrade", u.GetFilters(), at.field("filters"))
		}
		out.Upgrades = append(out.Upgrades, up)
	}
}

// packTraceReason reads the one request ID extension that Envoy has, which is also what it does without any.
func (c *call) packTraceReason(r *hcmv3.RequestIDExtension, p *path) bool {
	if r.GetTypedConfig() == nil {
		return true
	}
	_, m := c.lookup(extension.RequestIDs, "", r.GetTypedConfig(), false, p)
	u, ok := m.(*uuidv3.UuidRequestIdConfig)
	return ok && isSet(u.GetPackTraceReason(), true)
}
