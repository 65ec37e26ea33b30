package translate

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

const (
	tcpProxyType = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	limitType    = "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"
	anyTCPProxy  = `{"@type": "` + tcpProxyType + `", "stat_prefix": "t", "cluster": "c"}`
	anyManager   = `{"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "h",
		"rds": {"route_config_name": "r", ` + adsSource + `}, "http_filters": [{"name": "d", "config_discovery": {` + adsSource + `, "type_urls": ["` + textType + `"]}}, ` + routerFilter + `]}`
)

func TestNetworkFiltersByDiscovery(t *testing.T) {
	discover := func(more string) string {
		return `{"name": "n", "config_discovery": {` + adsSource + `, "type_urls": ["` + tcpProxyType + `"]` + more + `}}`
	}
	early := strings.ReplaceAll(discover(""), tcpProxyType, limitType)
	for _, c := range []struct{ name, filters, err string }{
		{"alone", discover(""), ""},
		{"with a default", discover(`, "default_config": ` + anyTCPProxy), ""},
		{"not the last", discover("") + `, {"name": "t", "typed_config": ` + anyTCPProxy + `}`, "filters[0].config_discovery: no configuration can come: network filter n is not the last of its chain"},
		{"a filter that cannot be the last", early, "filters[0].config_discovery: no configuration can come: network filter n is the last of its chain"},
		{"a filter before the last", early + `, {"name": "t", "typed_config": ` + anyTCPProxy + `}`, ""},
		{"default of another type", discover(`, "default_config": ` + anyManager), "filters[0].config_discovery.default_config: filter config has type URL"},
		{"bad default", discover(`, "default_config": {"@type": "` + tcpProxyType + `", "stat_prefix": "t"}`), "default_config"},
		{"a type of HTTP filters", strings.ReplaceAll(discover(""), tcpProxyType, "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"), "no factory found for a required type URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := fmt.Sprintf(`{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}, "filter_chains": [{"filters": [%s]}]}`, c.filters)
			l, _, err := testTranslator(t).Listener(parse(t, text, &listenerv3.Listener{}), Meta{})
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if err != nil {
				return
			}
			refs := l.FilterReferences()
			if len(refs) != 1 || refs[0].Name != "n" || refs[0].Discovery.Kind != model.NetworkFilterKind || refs[0].Discovery.Terminal == strings.Contains(c.filters, limitType) {
				t.Errorf("references %+v", refs)
			}
		})
	}
}

// A connection manager that ECDS delivers has needs of its own.
func TestManagerByDiscovery(t *testing.T) {
	v, _, err := testTranslator(t).FilterConfig(parse(t, `{"name": "n", "typed_config": `+anyManager+`}`, &corev3.TypedExtensionConfig{}), Meta{})
	if err != nil {
		t.Fatal(err)
	}
	routes, filters := v.RouteReferences(), v.FilterReferences()
	if len(routes) != 1 || routes[0].Name != "r" || len(filters) != 1 || filters[0].Name != "d" || !v.Terminal {
		t.Errorf("routes %+v, filters %+v, terminal %v", routes, filters, v.Terminal)
	}
	if _, _, err := testTranslator(t).FilterConfig(parse(t, `{"name": "n", "typed_config": `+strings.Replace(anyManager, `"r",`, `"",`, 1)+`}`, &corev3.TypedExtensionConfig{}), Meta{}); err == nil {
		t.Error("a manager without routes was taken")
	}
}
