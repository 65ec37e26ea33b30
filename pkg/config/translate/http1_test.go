package translate

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestHTTP1Options holds what a cluster's options become, or the error they give.
func TestHTTP1Options(t *testing.T) {
	tr := testTranslator(t)
	const preserve = `"typed_config": {"@type": "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"`
	for _, tc := range []struct {
		name, options string
		want          model.HTTP1Options
		err           string
	}{
		{"defaults", `{}`, model.HTTP1Options{AllowAbsoluteURL: true}, ""},
		{
			"flags", `{"allow_absolute_url": false, "accept_http_10": true, "default_host_for_http_10": "a", "enable_trailers": true,
				"allow_chunked_length": true, "allow_custom_methods": true, "send_fully_qualified_url": true,
				"override_stream_error_on_invalid_http_message": true}`,
			model.HTTP1Options{
				AcceptHTTP10: true, DefaultHostHTTP10: "a", EnableTrailers: true, AllowChunkedLength: true, AllowCustomMethods: true,
				SendFullURL: true, StreamErrors: true,
			},
			"",
		},
		{
			"proper case", `{"header_key_format": {"proper_case_words": {}}}`,
			model.HTTP1Options{AllowAbsoluteURL: true, HeaderFormat: model.HeaderProperCase},
			"",
		},
		{
			"preserved case", `{"header_key_format": {"stateful_formatter": {"name": "a", ` + preserve + `, "forward_reason_phrase": true}}}}`,
			model.HTTP1Options{AllowAbsoluteURL: true, HeaderFormat: model.HeaderPreserveCase, ForwardReason: true},
			"",
		},
		{
			"preserved case with proper own names",
			`{"header_key_format": {"stateful_formatter": {"name": "a", ` + preserve + `, "formatter_type_on_envoy_headers": "PROPER_CASE"}}}}`,
			model.HTTP1Options{AllowAbsoluteURL: true, HeaderFormat: model.HeaderPreserveCase, ProperOwnNames: true},
			"",
		},
		{
			"ignored upgrades", `{"ignore_http_11_upgrade": [{"exact": "h2c"}, {"prefix": "TLS/", "ignore_case": true}]}`,
			model.HTTP1Options{AllowAbsoluteURL: true, IgnoreUpgrades: []model.StringMatcher{
				{Kind: model.MatchExact, Value: "h2c"}, {Kind: model.MatchPrefix, Value: "tls/", IgnoreCase: true},
			}},
			"",
		},
		{"bad matcher", `{"ignore_http_11_upgrade": [{"exact": "a"}, {"safe_regex": {"regex": "("}}]}`, model.HTTP1Options{}, "ignore_http_11_upgrade[1]"},
		{
			"unknown formatter", `{"header_key_format": {"stateful_formatter": {"name": "a", "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "x"}}}}`,
			model.HTTP1Options{},
			"stateful_formatter",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := `{"name": "c", "load_assignment": {"cluster_name": "c"}, "http_protocol_options": ` + tc.options + `}`
			c, _, err := tr.Cluster(parse(t, text, &clusterv3.Cluster{}), Meta{})
			switch {
			case tc.err != "":
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want an error with %q", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			default:
				if diff := cmp.Diff(tc.want, c.HTTP.HTTP1); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
