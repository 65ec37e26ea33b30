package translate

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

const (
	testEcho  = `{"name": "echo", "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "hi"}}`
	testCodec = `{"name": "envoy.filters.http.upstream_codec", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"}}`
)

func TestUpstreamFilters(t *testing.T) {
	for _, tc := range []struct {
		name, filters, want, err string
	}{
		{"none", ``, "", ""},
		{"codec only", testCodec, "envoy.filters.http.upstream_codec", ""},
		{"a filter and the codec", testEcho + `,` + testCodec, "echo envoy.filters.http.upstream_codec", ""},
		{"no codec", testEcho, "", "non-terminal filter named echo of type echo is the last filter in a upstream http filter chain"},
		{"codec first", testCodec + `,` + testEcho, "", "terminal filter named envoy.filters.http.upstream_codec"},
		{"a filter that does not work upstream", `{"name": "envoy.filters.http.router"},` + testCodec, "", "envoy.filters.http.upstream"},
		{"discovery", `{"name": "x", "config_discovery": {"config_source": {"ads": {}}, "type_urls": ["type.googleapis.com/google.protobuf.StringValue"]}},` + testCodec, "x envoy.filters.http.upstream_codec", ""},
		{"discovery of the last one", `{"name": "x", "config_discovery": {"config_source": {"ads": {}}, "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"]}}`, "", "no factory found for a required type URL"},
	} {
		check := func(t *testing.T, at string, filters []*model.HTTPFilter, warnings []Warning, err error) {
			t.Helper()
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), at) {
					t.Fatalf("error %v, want %q at %s", err, tc.err, at)
				}
				return
			}
			if err != nil || len(warnings) > 0 {
				t.Fatalf("error %v, warnings %v", err, warnings)
			}
			var names []string
			for _, f := range filters {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, " "); got != tc.want {
				t.Errorf("filters %q, want %q", got, tc.want)
			}
		}
		t.Run("cluster: "+tc.name, func(t *testing.T) {
			c, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}, "typed_extension_protocol_options": {
				"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": {"http_protocol_options": {}}, "http_filters": [`+tc.filters+`]}}}`, &clusterv3.Cluster{}), Meta{})
			var filters []*model.HTTPFilter
			if c != nil {
				filters = c.Filters
			}
			check(t, "http_filters", filters, warnings, err)
		})
		t.Run("router: "+tc.name, func(t *testing.T) {
			l, warnings, err := testTranslator(t).Listener(parse(t, `{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}, "filter_chains": [{"filters": [{
				"name": "hcm", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix": "x", "route_config": {"name": "r"}, "http_filters": [{"name": "router", "typed_config": {
					"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "upstream_http_filters": [`+tc.filters+`]}}]}}]}]}`, &listenerv3.Listener{}), Meta{})
			var filters []*model.HTTPFilter
			if l != nil {
				filters = l.FilterChains[0].Filters[0].Config.(*model.HTTPConnectionManager).HTTPFilters[0].Upstream
			}
			check(t, "upstream_http_filters", filters, warnings, err)
		})
	}
}
