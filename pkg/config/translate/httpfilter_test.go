package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
)

const (
	anyText      = `{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "v"}`
	anyRouter    = `{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}`
	anyUnknown   = `{"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}`
	textType     = "type.googleapis.com/google.protobuf.StringValue"
	filterConfig = `{"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig"`
	routerFilter = `{"name": "router", "typed_config": ` + anyRouter + `}`
	adsSource    = `"config_source": {"ads": {}, "resource_api_version": "V3"}`
)

// chainOf translates a listener with these filters and per-route configuration.
func chainOf(t *testing.T, filters, perRoute string) (*model.HTTPConnectionManager, []string, error) {
	t.Helper()
	listener := fmt.Sprintf(`{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}, "filter_chains": [{"filters": [{"name": "h", "typed_config": {
		"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "s", "http_filters": [%s],
		"route_config": {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "typed_per_filter_config": {%s}}]}}}]}]}`, filters, perRoute)
	l, warnings, err := testTranslator(t).Listener(parse(t, listener, &listenerv3.Listener{}), Meta{})
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.Path+": "+w.Reason)
	}
	if err != nil {
		return nil, texts, err
	}
	return l.FilterChains[0].Filters[0].Config.(*model.HTTPConnectionManager), texts, nil
}

func TestHTTPFilterChains(t *testing.T) {
	echo := func(more string) string { return `{"name": "e", "typed_config": ` + anyText + more + `}` }
	discover := func(more string) string { return `{"name": "d", "config_discovery": {` + adsSource + more + `}}` }
	urls := `, "type_urls": ["` + textType + `"]`
	cases := []struct {
		name, filters string
		want          []string // names
		err, warning  string
	}{
		{name: "in order", filters: echo("") + "," + routerFilter, want: []string{"e", "router"}},
		{name: "unknown", filters: `{"name": "x", "typed_config": ` + anyUnknown + `},` + routerFilter, err: "http_filters[0].typed_config: extension type"},
		{name: "optional", filters: `{"name": "x", "is_optional": true, "typed_config": ` + anyUnknown + `},` + routerFilter, want: []string{"router"}, warning: "http_filters[0]: optional extension is skipped"},
		{name: "without end", filters: echo(""), err: "non-terminal filter named e of type echo is the last filter in a http filter chain"},
		{name: "end in the middle", filters: routerFilter + "," + routerFilter, err: "terminal filter named router of type envoy.filters.http.router must be the last filter in a http filter chain"},
		{name: "terminal disabled", filters: strings.TrimSuffix(routerFilter, "}") + `, "disabled": true}`, err: "http_filters[0].disabled: terminal filter named router cannot be disabled"},
		{name: "two of one name", filters: echo("") + "," + echo("") + "," + routerFilter, want: []string{"e", "e", "router"}, warning: `another filter of the chain is named "e" too`},
		{name: "discovery", filters: discover(urls) + "," + routerFilter, want: []string{"d", "router"}},
		{name: "discovery of a type that is unknown", filters: discover(`, "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"]`) + "," + routerFilter, err: "type_urls[0]: no factory found for a required type URL"},
		{name: "discovery without types", filters: discover("") + "," + routerFilter, err: "config_discovery.type_urls"},
		{name: "default of another type", filters: discover(urls+`, "default_config": `+anyRouter) + "," + routerFilter, err: "config_discovery.default_config: filter config has type URL type.googleapis.com/envoy.extensions.filters.http.router.v3.Router but expect " + textType},
		{name: "without warming", filters: discover(urls+`, "apply_default_config_without_warming": true`) + "," + routerFilter, err: "filter config d applied without warming but has no default config"},
		{name: "router by discovery", filters: discover(`, "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"], "default_config": ` + anyRouter), want: []string{"d"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, warnings, err := chainOf(t, c.filters, "")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range h.HTTPFilters {
				names = append(names, f.Name)
			}
			if d := cmp.Diff(c.want, names); d != "" {
				t.Error(d)
			}
			if c.warning != "" && !strings.Contains(strings.Join(warnings, "\n"), c.warning) || c.warning == "" && len(warnings) > 0 {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
		})
	}
}

func TestDiscoveredFilter(t *testing.T) {
	filters := `{"name": "d", "disabled": true, "config_discovery": {` + adsSource + `, "type_urls": ["x/google.protobuf.StringValue"], "default_config": ` + anyText + `}},` + routerFilter
	h, _, err := chainOf(t, filters, "")
	if err != nil {
		t.Fatal(err)
	}
	f := h.HTTPFilters[0]
	if f.Discovery == nil || f.Discovery.Default.Config != "v" || f.Discovery.Default.TypeURL != textType || !f.Discovery.Accepts(textType) || f.Discovery.Terminal || !f.Disabled || f.Discovery.Source.Kind != model.SourceADS {
		t.Errorf("%+v, %+v", f, f.Discovery)
	}
	v, _, err := testTranslator(t).FilterConfig(parse(t, `{"name": "d", "typed_config": `+anyText+`}`, &corev3.TypedExtensionConfig{}), Meta{Version: "7"})
	if err != nil || v.Name != "d" || v.Version != "7" || v.Config != "v" || v.TypeURL != textType || v.Terminal {
		t.Errorf("%+v, %v", v, err)
	}
	if _, _, err := testTranslator(t).FilterConfig(parse(t, `{"name": "d", "typed_config": `+anyUnknown+`}`, &corev3.TypedExtensionConfig{}), Meta{}); err == nil {
		t.Error("an unknown type was taken")
	}
}

func TestPerRouteConfiguration(t *testing.T) {
	const filters = `{"name": "e", "typed_config": ` + anyText + `},` + routerFilter
	cases := []struct {
		name, entry string
		want        *model.FilterOverride
		err         string
		warning     string
	}{
		{name: "own message", entry: `"e": ` + anyText, want: &model.FilterOverride{Config: "v", TypeURL: textType}},
		{name: "wrapped", entry: `"e": ` + filterConfig + `, "config": ` + anyText + `}`, want: &model.FilterOverride{Config: "v", TypeURL: textType}},
		{name: "disabled", entry: `"e": ` + filterConfig + `, "disabled": true}`, want: &model.FilterOverride{Disabled: true}},
		{name: "disabled beats config", entry: `"e": ` + filterConfig + `, "disabled": true, "config": ` + anyUnknown + `}`, want: &model.FilterOverride{Disabled: true}},
		{name: "enabled", entry: `"e": ` + filterConfig + `, "config": {}}`, want: &model.FilterOverride{}},
		{name: "nothing", entry: `"e": ` + filterConfig + `}`, err: "empty route/virtual host per filter configuration for e filter"},
		{name: "unknown", entry: `"e": ` + anyUnknown, err: `typed_per_filter_config["e"]: extension type`},
		{name: "unknown, optional", entry: `"e": ` + filterConfig + `, "is_optional": true, "config": ` + anyUnknown + `}`, want: &model.FilterOverride{}, warning: "optional per-route configuration is skipped"},
		{name: "not per route", entry: `"e": ` + anyRouter, err: "the filter envoy.filters.http.router does not support virtual host or route specific configurations"},
		{name: "no such filter", entry: `"other": ` + anyText, warning: `no HTTP filter of the connection manager is named "other"`},
		{name: "filter of another type", entry: `"router": ` + anyText, warning: `the HTTP filter named "router" is of another type`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h, warnings, err := chainOf(t, filters, c.entry)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, h.InlineRoutes.VirtualHosts[0].PerFilter["e"]); d != "" {
				t.Error(d)
			}
			has := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, c.warning) })
			if c.warning != "" && !has || c.warning == "" && len(warnings) > 0 {
				t.Errorf("warnings %q, want %q", warnings, c.warning)
			}
		})
	}
}
