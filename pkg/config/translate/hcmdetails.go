package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// hcmDetails translates what the connection manager says about messages beside what every proxy does.
func (c *call) hcmDetails(m *hcmv3.HttpConnectionManager, out *model.HTTPConnectionManager, p *path) {
	out.ForwardClientCert = model.ForwardClientCert(m.GetForwardClientCertDetails())
	d := m.GetSetCurrentClientCertDetails()
	out.ClientCertDetails = model.ClientCertDetails{
		Subject: d.GetSubject().GetValue(), Cert: d.GetCert(), Chain: d.GetChain(), DNS: d.GetDns(), URI: d.GetUri(),
	}
	out.NormalizePathDefault = m.GetNormalizePath() == nil
	out.EscapedSlashesDefault = m.GetPathWithEscapedSlashesAction() == hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT
	out.MaxHeadersBytesDefault = m.GetMaxRequestHeadersKb() == nil
	out.MaxHeadersCountDefault = m.GetCommonHttpProtocolOptions().GetMaxHeadersCount() == nil
	out.AppendForwardedPort = m.GetAppendXForwardedPort()
	out.SchemeMatchUpstream = m.GetSchemeHeaderTransformation().GetMatchUpstream()
	out.SafeMaxConnectionDuration = m.GetHttp1SafeMaxConnectionDuration()
	out.InternalUnixSockets = m.GetInternalAddressConfig().GetUnixSockets()
	out.EarlyMutations = c.hcmExtensions(extension.EarlyHeaderMutations, m.GetEarlyHeaderMutationExtensions(), p, "early_header_mutation_extensions")
	out.IPDetectors = c.hcmExtensions(extension.OriginalIPDetections, m.GetOriginalIpDetectionExtensions(), p, "original_ip_detection_extensions")
	if len(m.GetOriginalIpDetectionExtensions()) > 0 {
		const mixed = "original IP detection extensions and %s may not be mixed"
		at := p.field("original_ip_detection_extensions")
		if m.GetUseRemoteAddress().GetValue() {
			c.fail(at, mixed, "use_remote_address")
		}
		if m.GetXffNumTrustedHops() > 0 {
			c.fail(at, mixed, "xff_num_trusted_hops")
		}
	}
	c.hcmLogs(m, out, p)
	out.LocalReply = c.localReply(m.GetLocalReplyConfig(), p.field("local_reply_config"))
	if s := m.GetProxyStatusConfig(); s != nil {
		out.ProxyStatus = &model.ProxyStatus{
			RemoveDetails: s.GetRemoveDetails(), RemoveTerminationDetails: s.GetRemoveConnectionTerminationDetails(),
			RemoveFlags: s.GetRemoveResponseFlags(), RecommendedStatus: s.GetSetRecommendedResponseCode(),
			UseNodeID: s.GetUseNodeId(), Name: s.GetLiteralProxyName(),
		}
	}
}

// hcmExtensions decodes a list of extensions of the connection manager.
func (c *call) hcmExtensions(category string, list []*corev3.TypedExtensionConfig, p *path, name string) []any {
	var out []any
	for i, e := range list {
		if f, v := c.extension(category, e.GetName(), e.GetTypedConfig(), false, p.elem(name, i)); f != nil {
			out = append(out, v)
		}
	}
	return out
}

// hcmLogs translates when access logs are written; the older fields and access_log_options exclude each other.
func (c *call) hcmLogs(m *hcmv3.HttpConnectionManager, out *model.HTTPConnectionManager, p *path) {
	o := m.GetAccessLogOptions()
	if o == nil {
		out.AccessLogInterval = c.duration(m.GetAccessLogFlushInterval(), 0, p, "access_log_flush_interval")
		out.LogOnNewRequest = m.GetFlushAccessLogOnNewRequest()
		return
	}
	if m.GetAccessLogFlushInterval() != nil {
		c.fail(p.field("access_log_flush_interval"), "only one of access_log_flush_interval and access_log_options may be set")
	}
	if m.GetFlushAccessLogOnNewRequest() {
		c.fail(p.field("flush_access_log_on_new_request"), "only one of flush_access_log_on_new_request and access_log_options may be set")
	}
	out.AccessLogInterval = c.duration(o.GetAccessLogFlushInterval(), 0, p.field("access_log_options"), "access_log_flush_interval")
	out.LogOnNewRequest = o.GetFlushAccessLogOnNewRequest()
	out.LogOnTunnel = o.GetFlushLogOnTunnelSuccessfullyEstablished()
}

// localReply translates what becomes of weir's own responses.
func (c *call) localReply(m *hcmv3.LocalReplyConfig, p *path) *model.LocalReply {
	if m == nil {
		return nil
	}
	out := &model.LocalReply{Body: c.replyBody(m.GetBodyFormat(), p.field("body_format"))}
	for i, r := range m.GetMappers() {
		at := p.elem("mappers", i)
		to := model.ReplyMapper{
			Status: int(r.GetStatusCode().GetValue()), Body: c.replyBody(r.GetBodyFormatOverride(), at.field("body_format_override")),
			HeadersAdd: c.headerOptions(r.GetHeadersToAdd(), at, "headers_to_add"),
		}
		if r.GetBody() != nil {
			b, _, ok := c.data(r.GetBody(), at.field("body"))
			to.Text, to.HasText = string(b), ok
		}
		filter, ok := c.accessLogFilter(r.GetFilter(), at.field("filter"))
		if !ok {
			continue
		}
		to.Filter = filter
		out.Mappers = append(out.Mappers, to)
	}
	return out
}

// replyBody translates a body format; its content type follows from its kind unless it is given.
func (c *call) replyBody(m *corev3.SubstitutionFormatString, p *path) *model.ReplyBody {
	if m == nil {
		return nil
	}
	if c.t.opt.DecodeFormat == nil {
		c.unsupported(p)
		return nil
	}
	f, err := c.t.opt.DecodeFormat(m)
	if err != nil {
		c.fail(p, "%v", err)
		return nil
	}
	out := &model.ReplyBody{Format: f, ContentType: m.GetContentType()}
	switch {
	case out.ContentType != "":
	case m.GetJsonFormat() != nil:
		out.ContentType = "application/json"
	default:
		out.ContentType = "text/plain"
	}
	return out
}
