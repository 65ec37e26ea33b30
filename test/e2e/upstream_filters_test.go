package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

// mutation is the header mutation filter, which adds one header to requests and one to responses.
func mutation(name, value string, more ...string) string {
	add := func(header string) string {
		return fmt.Sprintf("[{append: {header: {key: %s, value: %q}, append_action: APPEND_IF_EXISTS_OR_ADD}}]", header, value)
	}
	return harness.HTTPFilter(name, harness.HTTPFilterConfig("header_mutation.v3.HeaderMutation",
		"mutations: {request_mutations: "+add("x-up")+", response_mutations: "+add("x-down")+"}"), more...)
}

// TestUpstreamFilters runs requests through upstream filters of routers and clusters, once per attempt.
func TestUpstreamFilters(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	codec := harness.HTTPFilter("codec", harness.HTTPFilterConfig("upstream_codec.v3.UpstreamCodec"))
	backend := host.HTTPBackend("backend", "127.0.0.1:0", harness.WithHandler("/retry", failing(1, 503)))
	own := harness.UpstreamHTTP("explicit_http_config: {http_protocol_options: {}}, http_filters: [" + mutation("own", "cluster %UPSTREAM_CLUSTER%") + ", " + codec + "]")
	r := startRig(t, host, rigConfig{
		router: "upstream_http_filters: [" + mutation("one", "first") + ", " + mutation("more", "second", "disabled: true") + ", " + codec + "]",
		routes: []string{
			"{match: {prefix: /own}, route: {cluster: own}}",
			`{match: {prefix: /both}, route: {cluster: backend}, typed_per_filter_config: {more: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}}`,
			"{match: {prefix: /retry}, route: {cluster: backend, retry_policy: {retry_on: 5xx}}}",
			"{match: {prefix: /}, route: {cluster: backend}}",
		},
		clusters: []string{harness.Cluster("backend", harness.To(backend.Addr)), harness.Cluster("own", harness.To(backend.Addr), own)},
	})
	for _, tc := range []struct{ path, up, down string }{
		{"/", "first", "first"},
		{"/own", "cluster own", "cluster own"},
		{"/both", "first, second", "second, first"},
		{"/retry", "first", "first"},
	} {
		resp, _ := r.get(tc.path)
		up := strings.Join(backend.Last(t).Header.Values("X-Up"), ", ")
		down := strings.Join(resp.Header.Values("X-Down"), ", ")
		if resp.StatusCode != http.StatusOK || up != tc.up || down != tc.down {
			t.Errorf("%s: status %d, the host got %q, the client %q; want %q and %q", tc.path, resp.StatusCode, up, down, tc.up, tc.down)
		}
	}
	if n := backend.Count(); n != 5 {
		t.Errorf("the host got %d requests, want 5: one is tried twice", n)
	}
}

// TestUpstreamFiltersNeedTheCodec checks that chains without end are refused.
func TestUpstreamFiltersNeedTheCodec(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	file := filepath.Join(harness.Dir(t), "endless.yaml")
	harness.WriteFile(t, file, harness.Bootstrap{Clusters: []string{harness.Cluster("backend", nil,
		harness.UpstreamHTTP("explicit_http_config: {http_protocol_options: {}}, http_filters: ["+mutation("own", "x")+"]"))}}.YAML())
	got := host.App().Run(harness.Binary("weir"), "-c", file, "--mode", "validate")
	if got.Status != 1 {
		t.Errorf("status %d, want 1", got.Status)
	}
	wantContains(t, "stderr", got.Err, "http_filters", "is the last filter in a upstream http filter chain")
}
