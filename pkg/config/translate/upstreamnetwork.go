package translate

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// networkFilters names the upstream network filters of a cluster. Weir has none: those of istio that only feed its metrics are left
// out, and others are refused.
func (c *call) networkFilters(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	for i, f := range m.GetFilters() {
		at := root.elem("filters", i)
		typeURL := ""
		if f.GetTypedConfig() != nil {
			typeURL = c.typeOf(f.GetTypedConfig())
		}
		switch typeURL[strings.LastIndexByte(typeURL, '/')+1:] {
		case metadataExchange:
			c.lacks(at, "filter %s (%s) is left out: %s", f.GetName(), typeURL, leftOut(typeURL))
			if out.TLS != nil {
				withoutExchange(&out.TLS.TLSParams, &out.TLS.Hash)
			}
			for _, match := range out.TransportSocketMatches {
				if match.TLS != nil {
					withoutExchange(&match.TLS.TLSParams, &match.TLS.Hash)
				}
			}
		case "envoy.extensions.network_filters.peer_metadata.UpstreamConfig":
			c.lacks(at, "filter %s (%s) is left out: it takes off what istio's peer_metadata puts on, which is left out too", f.GetName(), typeURL)
		default:
			if f.GetConfigDiscovery() != nil {
				c.unsupported(at.field("config_discovery"))
				continue
			}
			c.lookup(extension.UpstreamNetworkFilters, f.GetName(), f.GetTypedConfig(), false, at)
		}
	}
	if len(m.GetFilters()) > 0 {
		c.named = append(c.named, m.ProtoReflect().Descriptor().Fields().ByName("filters").FullName())
	}
}
