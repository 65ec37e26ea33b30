package translate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"
)

// Each upstream network filter is named once, and only those that may be left out let the cluster through.
func TestUpstreamNetworkFilters(t *testing.T) {
	const (
		prefix   = `{"name": "istio.metadata_exchange", "typed_config": {"@type": "type.googleapis.com/`
		struct_  = prefix + `udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange", "value": {"protocol": "istio-peer-exchange"}}}`
		upstream = `{"name": "peer", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", ` +
			`"type_url": "type.googleapis.com/envoy.extensions.network_filters.peer_metadata.UpstreamConfig", "value": {}}}`
		echo      = `{"name": "echo", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}`
		typo      = `{"name": "own", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/example.Own"}}`
		discovery = `{"name": "later", "config_discovery": {"config_source": {"ads": {}, "resource_api_version": "V3"}, "type_urls": ["example.Own"]}}`
	)
	for _, tc := range []struct {
		name, filters    string
		warnings, errors []string // path and some words
	}{
		{"none", ``, nil, nil},
		{"metadata exchange", struct_, []string{"filters[0]: filter istio.metadata_exchange (type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange) is left out"}, nil},
		{"two of istio", struct_ + "," + upstream, []string{"filters[0]: filter istio.metadata_exchange", "filters[1]: filter peer"}, nil},
		{"one of Envoy", echo, nil, []string{"filters[0].typed_config: extension type type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo for envoy.filters.upstream_network is known to Envoy but not supported by weir"}},
		{"one of nobody", typo, nil, []string{"filters[0].typed_config: unknown extension type type.googleapis.com/example.Own"}},
		{"a name", `{"name": "nothing"}`, nil, []string{"filters[0]: Didn't find a registered implementation for 'nothing'"}},
		{"discovered", discovery, nil, []string{"filters[0].config_discovery: not supported by weir"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, warnings, err := testTranslator(t).Cluster(parse(t, `{"name": "c", "load_assignment": {"cluster_name": "c"}, "filters": [`+tc.filters+`]}`, &clusterv3.Cluster{}), Meta{})
			var warned, failed []string
			for _, w := range warnings {
				warned = append(warned, w.Path+": "+w.Reason)
			}
			for _, e := range FieldErrors(err) {
				failed = append(failed, e.Path+": "+e.Reason)
			}
			begins := func(got, want string) bool { return strings.HasPrefix(got, want) }
			if !slices.EqualFunc(warned, tc.warnings, begins) || !slices.EqualFunc(failed, tc.errors, begins) {
				t.Errorf("warnings %q, errors %q", warned, failed)
			}
		})
	}
}

// Without its filter, weir must not agree with a peer to begin with metadata.
func TestNoMetadataExchange(t *testing.T) {
	const (
		tls = `{"name": "tls", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
			"common_tls_context": {"alpn_protocols": ["istio-peer-exchange", "istio"]}}}`
		cluster = `{"name": "c", "load_assignment": {"cluster_name": "c"}, "transport_socket": ` + tls + `, "transport_socket_matches": [{"name": "m", "match": {}, "transport_socket": ` + tls + `}]`
		filter  = `, "filters": [{"name": "istio.metadata_exchange", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
			"type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange", "value": {"protocol": "istio-peer-exchange"}}}]`
	)
	hashes := map[uint64]bool{}
	for _, tc := range []struct {
		name, text string
		want       []string
	}{{"as configured", cluster + "}", []string{"istio-peer-exchange", "istio"}}, {"with the filter", cluster + filter + "}", []string{"istio"}}} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, err := testTranslator(t).Cluster(parse(t, tc.text, &clusterv3.Cluster{}), Meta{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]string{tc.want, tc.want}, [][]string{c.TLS.ALPN, c.TransportSocketMatches[0].TLS.ALPN}); diff != "" {
				t.Error(diff)
			}
			if hashes[c.TLS.Hash] {
				t.Error("the hash is that of other content")
			}
			hashes[c.TLS.Hash] = true
		})
	}
}

// The same holds for those who connect to a listener.
func TestNoMetadataExchangeDownstream(t *testing.T) {
	const (
		filter = `{"name": "istio.metadata_exchange", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
			"type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange", "value": {"protocol": "istio-peer-exchange"}}},`
		listener = `{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}}, "filter_chains": [{
			"filters": [%s {"name": "tcp", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
				"stat_prefix": "p", "cluster": "c"}}],
			"transport_socket": {"name": "tls", "typed_config": {
				"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
				"common_tls_context": {"alpn_protocols": ["istio-peer-exchange", "h2"],
					"tls_certificate_sds_secret_configs": [{"name": "own", "sds_config": {"ads": {}, "resource_api_version": "V3"}}]}}}}]}`
	)
	for _, tc := range []struct {
		name, filter string
		want         []string
		warnings     int
	}{{"as configured", "", []string{"istio-peer-exchange", "h2"}, 0}, {"with the filter", filter, []string{"h2"}, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			l, warnings, err := testTranslator(t).Listener(parse(t, fmt.Sprintf(listener, tc.filter), &listenerv3.Listener{}), Meta{})
			if err != nil || len(warnings) != tc.warnings {
				t.Fatalf("%v, warnings %v", err, warnings)
			}
			chain := l.FilterChains[0]
			if diff := cmp.Diff(tc.want, chain.TLS.ALPN); diff != "" || len(chain.Filters) != 1 {
				t.Errorf("%d filters, ALPN %s", len(chain.Filters), diff)
			}
		})
	}
}
