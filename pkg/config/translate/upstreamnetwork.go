package translate

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// exchangeALPN is what istio's proxies agree on by ALPN before they send each other their metadata ahead of the data.
const exchangeALPN = "istio-peer-exchange"

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
		case "envoy.tcp.metadataexchange.config.MetadataExchange":
			c.lacks(at, "filter %s (%s) is left out: it tells istio's metrics who the peer is, which are missing; "+
				"%s is not offered by ALPN, so that peers leave it out too", f.GetName(), typeURL, exchangeALPN)
			withoutExchange(out)
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

// withoutExchange takes the exchange of metadata off what a cluster offers: who agrees on it begins with metadata.
func withoutExchange(out *model.Cluster) {
	offers := []*model.UpstreamTLS{out.TLS}
	for _, m := range out.TransportSocketMatches {
		offers = append(offers, m.TLS)
	}
	for _, t := range offers {
		if t == nil || !slices.Contains(t.ALPN, exchangeALPN) {
			continue
		}
		t.ALPN = slices.DeleteFunc(slices.Clone(t.ALPN), func(p string) bool { return p == exchangeALPN })
		t.Hash = ^t.Hash // other content than what was configured
	}
}
