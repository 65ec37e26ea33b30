package translate

import "strings"

// leftOut says why a filter that weir does not have may be left out of its chain, with a warning: what it does is to tell
// of the traffic, which goes the same way without it. Other types give the empty text.
func leftOut(typeURL string) string {
	switch typeURL[strings.LastIndexByte(typeURL, '/')+1:] {
	case "stats.PluginConfig":
		return "it makes istio's metrics (istio_requests_total and others), which are missing; traffic does not change"
	case "io.istio.http.peer_metadata.Config", "envoy.extensions.network_filters.peer_metadata.Config":
		return "it tells istio's metrics who the peer is, which are missing; traffic does not change"
	case "istio.workload.BootstrapExtension":
		return "it tells istio's metrics of workloads, which are missing; traffic does not change"
	case "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig":
		return "it counts gRPC calls by method, and the counts are missing; traffic does not change"
	}
	return ""
}
