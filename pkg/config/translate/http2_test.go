package translate

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// TestHTTP2Options holds what a cluster's options become, or the error they give.
func TestHTTP2Options(t *testing.T) {
	tr := testTranslator(t)
	const none = model.HTTP2None
	for _, tc := range []struct {
		name, options string
		want          model.HTTP2Options
		err           string
	}{
		{"defaults", `{}`, model.HTTP2Options{}, ""},
		{
			"zero is a value", `{"hpack_table_size": 0, "max_inbound_priority_frames_per_stream": 0}`,
			model.HTTP2Options{HPACKTableSize: none, MaxInboundPriorityFramesPerStream: none},
			"",
		},
		{
			"settings with a field of their own", `{"custom_settings_parameters": [{"identifier": 1, "value": 8192}, {"identifier": 3, "value": 7},
				{"identifier": 4, "value": 70000}, {"identifier": 2, "value": 0}, {"identifier": 3, "value": 7}]}`,
			model.HTTP2Options{HPACKTableSize: 8192, MaxConcurrentStreams: 7, InitialStreamWindowSize: 70000},
			"",
		},
		{
			"other settings", `{"custom_settings_parameters": [{"identifier": 6, "value": 9}, {"identifier": 61440, "value": 1}]}`,
			model.HTTP2Options{Settings: []model.HTTP2Setting{{ID: 6, Value: 9}, {ID: 61440, Value: 1}}},
			"",
		},
		{"the override wins", `{"stream_error_on_invalid_http_messaging": true, "override_stream_error_on_invalid_http_message": false}`, model.HTTP2Options{}, ""},
		{"the deprecated field", `{"stream_error_on_invalid_http_messaging": true}`, model.HTTP2Options{StreamErrorOnInvalid: true}, ""},
		{"push", `{"custom_settings_parameters": [{"identifier": 2, "value": 1}]}`, model.HTTP2Options{}, "custom_settings_parameters[0]: server push"},
		{"extended CONNECT", `{"custom_settings_parameters": [{"identifier": 8, "value": 1}]}`, model.HTTP2Options{}, "custom_settings_parameters[0]: the \"allow_connect\""},
		{
			"named and numbered", `{"max_concurrent_streams": 1, "hpack_table_size": 1, "custom_settings_parameters": [{"identifier": 3, "value": 1}, {"identifier": 1, "value": 1}]}`,
			model.HTTP2Options{},
			"the {max_concurrent_streams,hpack_table_size} HTTP/2 SETTINGS",
		},
		{"inconsistent", `{"custom_settings_parameters": [{"identifier": 6, "value": 1}, {"identifier": 6, "value": 2}]}`, model.HTTP2Options{}, "identifiers = {0x06}"},
		{"frame size", `{"custom_settings_parameters": [{"identifier": 5, "value": 1}]}`, model.HTTP2Options{}, "[16384, 16777215]"},
		{"window", `{"custom_settings_parameters": [{"identifier": 4, "value": 1}]}`, model.HTTP2Options{}, "[65535, 2147483647]"},
		{"streams", `{"custom_settings_parameters": [{"identifier": 3, "value": 0}]}`, model.HTTP2Options{}, "[1, 2147483647]"},
		{"identifier", `{"custom_settings_parameters": [{"identifier": 65536, "value": 1}]}`, model.HTTP2Options{}, "[0, 65535]"},
		{"no identifier", `{"custom_settings_parameters": [{"value": 1}]}`, model.HTTP2Options{}, "identifier: value is required"},
		{"named window", `{"initial_stream_window_size": 65534}`, model.HTTP2Options{}, "[65535, 2147483647]"},
		{"named streams", `{"max_concurrent_streams": 0}`, model.HTTP2Options{}, "[1, 2147483647]"},
		{"outbound frames", `{"max_outbound_frames": 0}`, model.HTTP2Options{}, "max_outbound_frames: value must be greater"},
		{"keepalive without timeout", `{"connection_keepalive": {"interval": "1s"}}`, model.HTTP2Options{}, "timeout: value is required"},
		{"keepalive in a hurry", `{"connection_keepalive": {"interval": "0.0001s", "timeout": "1s"}}`, model.HTTP2Options{}, "interval: value must be greater than or equal to 1ms"},
		{"jitter", `{"connection_keepalive": {"timeout": "1s", "interval_jitter": {"value": 101}}}`, model.HTTP2Options{}, "[0, 100]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := `{"name": "c", "load_assignment": {"cluster_name": "c"}, "http2_protocol_options": ` + tc.options + `}`
			c, _, err := tr.Cluster(parse(t, text, &clusterv3.Cluster{}), Meta{})
			switch {
			case tc.err != "":
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q in it", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			default:
				if diff := cmp.Diff(tc.want, c.HTTP.HTTP2); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
