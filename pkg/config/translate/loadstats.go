package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// loadStats translates where load reports are sent to; nil stays nil.
func (c *call) loadStats(m *corev3.ApiConfigSource) *model.APISource {
	if m == nil {
		return nil
	}
	var root *path
	at := root.field("cluster_manager").field("load_stats_config")
	out := c.apiSource(m, at)
	switch m.GetApiType() {
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_DELTA_GRPC:
	default:
		c.fail(at.field("api_type"), "must be GRPC or DELTA_GRPC: load reports are a stream of their own")
	}
	if len(out.Services) > 1 {
		c.fail(at.field("grpc_services"), "must be one server")
	}
	if len(out.Services) == 0 {
		return nil
	}
	return out
}
