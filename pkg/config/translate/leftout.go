package translate

import (
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

const (
	// metadataExchange is istio's filter that tells the peer of a TCP connection who this end is, and hears it from there.
	metadataExchange = "envoy.tcp.metadataexchange.config.MetadataExchange"
	// exchangeALPN is what two such filters agree on by ALPN before they send each other their metadata ahead of the data.
	exchangeALPN = "istio-peer-exchange"
)

// leftOut says why a filter that weir does not have may be left out of its chain, with a warning: what it does is to tell
// of the traffic, which goes the same way without it. Other types give the empty text.
func leftOut(typeURL string) string {
	switch typeURL[strings.LastIndexByte(typeURL, '/')+1:] {
	case "stats.PluginConfig":
		return "it makes istio's metrics (istio_requests_total and others), which are missing; traffic does not change"
	case "io.istio.http.peer_metadata.Config", "envoy.extensions.network_filters.peer_metadata.Config":
		return "it tells istio's metrics who the peer is, which are missing; traffic does not change"
	case metadataExchange:
		return "it tells istio's metrics who the peer is, which are missing; " + exchangeALPN + " is not offered by ALPN, so that peers leave it out too"
	case "istio.workload.BootstrapExtension":
		return "it tells istio's metrics of workloads, which are missing; traffic does not change"
	case "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig":
		return "it counts gRPC calls by method, and the counts are missing; traffic does not change"
	}
	return ""
}

// withoutExchange takes the exchange of metadata off what a TLS context offers, since the filter that would exchange is left out:
// a peer that agrees on it begins with metadata.
func withoutExchange(p *model.TLSParams, hash *uint64) {
	if slices.Contains(p.ALPN, exchangeALPN) {
		p.ALPN = slices.DeleteFunc(slices.Clone(p.ALPN), func(name string) bool { return name == exchangeALPN })
		*hash = ^*hash // other content than what was configured
	}
}
