package hcm_test

import (
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestRuntimeDefaults(t *testing.T) {
	direct := routeConfig(&model.Route{Match: model.RouteMatch{Path: "/b"}, Direct: &model.DirectResponse{Status: 200}})
	for _, tc := range []struct {
		name  string
		value map[string]uint64
		open  bool // the configuration leaves it open
		path  string
		want  int
	}{
		{"normalised", map[string]uint64{"http_connection_manager.normalize_path": 100}, true, "/a/../b", 200},
		{"not asked", map[string]uint64{"http_connection_manager.normalize_path": 100}, false, "/a/../b", 404},
		{"no percentage", map[string]uint64{"http_connection_manager.normalize_path": 0}, true, "/a/../b", 404},
		{"rejected", map[string]uint64{"http_connection_manager.path_with_escaped_slashes_action": 2}, true, "/b%2Fc", 400},
		{"redirected", map[string]uint64{"http_connection_manager.path_with_escaped_slashes_action": 3}, true, "/b%2Fc", 307},
		{"forwarded", map[string]uint64{"http_connection_manager.path_with_escaped_slashes_action": 4}, true, "/%2e/b%2Fc", 404},
		{"spared", map[string]uint64{"http_connection_manager.path_with_escaped_slashes_action": 2, "http_connection_manager.path_with_escaped_slashes_action_enabled": 0}, true, "/b%2Fc", 200},
		{"large header", map[string]uint64{"envoy.reloadable_features.max_request_headers_size_kb": 1}, true, "/b" + strings.Repeat("x", 2000), 431},
		{"many headers", map[string]uint64{"envoy.reloadable_features.max_request_headers_count": 1}, true, "/b", 431},
		{"large header, configured", map[string]uint64{"envoy.reloadable_features.max_request_headers_size_kb": 1}, false, "/b" + strings.Repeat("x", 2000), 200},
		{"fragment", nil, true, "/b#x", 400},
		{"unknown", map[string]uint64{"http_connection_manager.path_with_escaped_slashes_action": 9}, true, "/b%2Fc", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := start(t, direct, options{
				runtime: model.RuntimeOf(tc.value),
				cfg: func(c *model.HTTPConnectionManager) {
					c.NormalizePathDefault, c.EscapedSlashesDefault = tc.open, tc.open
					c.MaxHeadersBytesDefault, c.MaxHeadersCountDefault = tc.open, tc.open
				},
			})
			if resp, _ := p.do(get(tc.path, "x-second: 1")); resp.StatusCode != tc.want {
				t.Errorf("got %d, want %d", resp.StatusCode, tc.want)
			}
		})
	}
}

func TestGuards(t *testing.T) {
	for name, tc := range map[string]struct {
		on      bool
		guard   string
		request string
		change  func(*model.HTTPConnectionManager)
		want    int
	}{
		"fragment dropped":     {false, "envoy.reloadable_features.http_reject_path_with_fragment", get("/b#x"), nil, 200},
		"fragment refused":     {true, "envoy.reloadable_features.http_reject_path_with_fragment", get("/b#x"), nil, 400},
		"internal by default":  {false, "envoy.reloadable_features.explicit_internal_address_config", get("/b", "x-forwarded-for: 10.0.0.1"), nil, 404},
		"internal if explicit": {true, "envoy.reloadable_features.explicit_internal_address_config", get("/b", "x-forwarded-for: 10.0.0.1"), nil, 200},
		"configured":           {true, "envoy.reloadable_features.explicit_internal_address_config", get("/b", "x-forwarded-for: 10.0.0.1"), func(c *model.HTTPConnectionManager) { c.InternalDefault = false }, 404},
	} {
		t.Run(name, func(t *testing.T) {
			internal := model.HeaderMatcher{Name: "x-envoy-internal", Kind: model.HeaderPresent, Present: true}
			routes := routeConfig(
				&model.Route{Match: model.RouteMatch{Path: "/b", Kind: model.PathExact, Headers: []model.HeaderMatcher{internal}}, Direct: &model.DirectResponse{Status: 404}},
				&model.Route{Match: model.RouteMatch{Path: "/b", Kind: model.PathExact}, Direct: &model.DirectResponse{Status: 200}},
			)
			p := start(t, routes, options{
				runtime: model.NewRuntime(map[string]model.RuntimeValue{tc.guard: {Is: model.RuntimeIsBool, Bool: tc.on}}),
				cfg: func(c *model.HTTPConnectionManager) {
					c.InternalDefault = true
					if tc.change != nil {
						tc.change(c)
					}
				},
			})
			if resp, _ := p.do(tc.request); resp.StatusCode != tc.want {
				t.Errorf("got %d, want %d", resp.StatusCode, tc.want)
			}
		})
	}
}
