package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"encoding/json"
	"net/netip"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// process is what a bootstrap says for all clusters that do not say otherwise.
type process struct {
	// bind and bindOther are the source addresses of upstream connections (cluster_manager.upstream_bind_config).
	bind, bindOther netip.AddrPort
	// dns holds who resolves names, and how.
	dns model.DNS
}

// processDefaults translates what holds for all clusters, those that come later included.
func (c *call) processDefaults(m *bootstrapv3.Bootstrap) {
	var root *path
	c.t.process = process{}
	if b := m.GetClusterManager().GetUpstreamBindConfig(); b != nil {
		c.t.process.bind, c.t.process.bindOther = c.bindAddresses(b, "the cluster manager", root.field("cluster_manager").field("upstream_bind_config"))
	}
	out := &c.t.process.dns
	switch {
	case m.GetTypedDnsResolverConfig() != nil:
		c.typedResolver(m.GetTypedDnsResolverConfig(), out, root.field("typed_dns_resolver_config"))
	case m.GetDnsResolutionConfig() != nil:
		c.resolution(m.GetDnsResolutionConfig(), out, root.field("dns_resolution_config"))
	default:
		out.TCP = m.GetUseTcpForDnsLookups()
	}
}

// logFormat is the pattern of the application log; "" keeps the default. A JSON format is a pattern too: an object whose
// strings hold the flags.
func (c *call) logFormat(m *bootstrapv3.Bootstrap_ApplicationLogConfig_LogFormat) string {
	var root *path
	at := root.field("application_log_config").field("log_format")
	switch f := m.GetLogFormat().(type) {
	case *bootstrapv3.Bootstrap_ApplicationLogConfig_LogFormat_TextFormat:
		return f.TextFormat
	case *bootstrapv3.Bootstrap_ApplicationLogConfig_LogFormat_JsonFormat:
		text, err := protojson.Marshal(f.JsonFormat)
		if err != nil {
			c.fail(at.field("json_format"), "%v", err)
			return ""
		}
		var compact strings.Builder
		encoder := json.NewEncoder(&compact) // protojson puts spaces in at random
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(json.RawMessage(text)); err != nil {
			c.fail(at.field("json_format"), "%v", err)
			return ""
		}
		for flag, instead := range map[string]string{"%v": "%j", "%_": "%j"} {
			if strings.Contains(compact.String(), flag) {
				c.fail(at.field("json_format"), "%s would break the JSON: use %s", flag, instead)
			}
		}
		return strings.TrimSuffix(compact.String(), "\n")
	}
	return ""
}
