package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

// awaited is a configuration that waits for one resource.
type awaited struct {
	name string
	// manager and cluster are made for a source; nil ones are as usual, or as run makes them.
	manager, cluster func(source string) string
	// asks is what is asked for, by which name.
	of   proto.Message
	asks string
	// late is what the control plane has, first and then what is asked for because of it.
	late func(t *testing.T, to netip.AddrPort) (name string, m proto.Message)
	// without is what is answered without it; 0 is no answer.
	without int
}

const ledsCollection = "xdstp://control/envoy.config.endpoint.v3.LbEndpoint/shop/*"

func awaitedResources() []awaited {
	return []awaited{
		{
			name: "EDS", of: anEndpoint, asks: "one", without: 503,
			cluster: func(source string) string {
				return "{name: one, type: EDS, eds_cluster_config: {eds_config: " + source + "}}"
			},
			late: func(t *testing.T, to netip.AddrPort) (string, proto.Message) { return "one", assignment(t, "one", to) },
		},
		{
			name: "RDS", of: aRouteTable, asks: "main", without: 404,
			manager: func(source string) string {
				return harness.HTTPManager("rds: {route_config_name: main, config_source: " + source + "}")
			},
			late: func(t *testing.T, _ netip.AddrPort) (string, proto.Message) {
				return "main", routeTable(t, "main", "one")
			},
		},
		{
			name: "SDS", of: &tlsv3.Secret{}, asks: "roots", without: 503,
			late: func(t *testing.T, _ netip.AddrPort) (string, proto.Message) {
				return "roots", harness.Resource(t, &tlsv3.Secret{}, fmt.Sprintf("{name: roots, validation_context: {trusted_ca: {inline_string: %q}}}", "@CA@"))
			},
		},
		{
			name: "SRDS", of: &routev3.ScopedRouteConfiguration{}, without: 404,
			manager: func(source string) string {
				return harness.HTTPManager(byTenant("tenants", "rds_config_source: "+source, "scoped_rds: {scoped_rds_config_source: "+source+"}"))
			},
		},
		{
			name: "ECDS", of: &corev3.TypedExtensionConfig{}, asks: "say", without: 500,
			manager: func(source string) string {
				say := "{name: say, config_discovery: {config_source: " + source + ", type_urls: [" + mutationType + "]}}"
				return strings.Replace(harness.HTTP(harness.RouteTo("/", "one")), "http_filters: [", "http_filters: ["+say+", ", 1)
			},
			late: func(t *testing.T, _ netip.AddrPort) (string, proto.Message) {
				return "say", typedConfig(t, "say", says("x"))
			},
		},
		{
			name: "VHDS", of: &routev3.VirtualHost{}, without: 404,
			late: func(t *testing.T, _ netip.AddrPort) (string, proto.Message) {
				return "hosts/any", harness.Resource(t, &routev3.VirtualHost{}, `{name: any, domains: ["*"], routes: [`+harness.RouteTo("/", "one")+"]}")
			},
		},
		{
			name: "LEDS", of: &endpointv3.LbEndpoint{}, asks: ledsCollection, without: 503,
			late: func(t *testing.T, to netip.AddrPort) (string, proto.Message) {
				return strings.TrimSuffix(ledsCollection, "*") + "one", harness.Resource(t, &endpointv3.LbEndpoint{}, "{endpoint: {address: "+harness.Address(to.String())+"}}")
			},
		},
	}
}

// TestInitialFetchTimeout has each kind of resource come late, from each kind of stream. With a timeout weir goes on without, with
// 0 it waits for as long as it takes.
func TestInitialFetchTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range awaitedResources() {
		for _, own := range []bool{false, true} {
			for _, timeout := range []string{"0s", "0.2s"} {
				t.Run(fmt.Sprintf("%s, own stream %v, %s", c.name, own, timeout), func(t *testing.T) {
					t.Parallel()
					c.run(t, own, timeout)
				})
			}
		}
	}
}

func (c *awaited) run(t *testing.T, own bool, timeout string) {
	host, ca := harness.NewHost(t), harness.NewCA(t)
	secure := c.name == "SDS"
	var options []harness.HTTPOption
	if secure {
		options = append(options, harness.WithTLS(ca.Issue("one.test").Server("http/1.1")))
	}
	one := host.HTTPBackend("one", "127.0.0.1:0", options...)
	p := startPuppet(t, host)
	source := fmt.Sprintf("{resource_api_version: V3, initial_fetch_timeout: %s, ads: {}}", timeout)
	if own {
		source = fmt.Sprintf("{resource_api_version: V3, initial_fetch_timeout: %s, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, %s}}", timeout, envoyGRPC)
	}
	manager, cluster := harness.HTTP(harness.RouteTo("/", "one")), harness.Cluster("one", harness.To(one.Addr))
	dir := harness.Dir(t)
	switch {
	case secure:
		cluster = harness.Cluster("one", harness.To(one.Addr), harness.UpstreamTLS("validation_context_sds_secret_config: {name: roots, sds_config: "+source+"}", "sni: one.test"))
	case c.name == "VHDS":
		rds := dir + "/rds.yaml"
		harness.WriteFile(t, rds, `resources: [{"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: hosts, vhds: {config_source: `+source+"}}]")
		manager = harness.HTTPManager("rds: {route_config_name: hosts, config_source: {resource_api_version: V3, path_config_source: {path: " + rds + "}}}")
	case c.name == "LEDS":
		eds := dir + "/eds.yaml"
		harness.WriteFile(t, eds, `resources: [{"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: one, endpoints: [`+
			"{leds_cluster_locality_config: {leds_config: "+source+", leds_collection_name: '"+ledsCollection+"'}}]}]")
		cluster = "{name: one, type: EDS, eds_cluster_config: {eds_config: {resource_api_version: V3, path_config_source: {path: " + eds + "}}}}"
	case c.cluster != nil:
		cluster = c.cluster(source)
	case c.manager != nil:
		manager = c.manager(source)
	}
	w := host.StartWeir(harness.WeirOptions{NotReady: true, Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML()},
		Clusters:  []string{cluster, harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:      "node: {id: e2e, cluster: test}\ndynamic_resources: {" + adsConfig("DELTA_GRPC", envoyGRPC) + "}",
	}.YAML()})
	p.asked(c.of, c.asks)
	status := func() string { return host.App().Curl("-w", " %{http_code}", "-H", "x-tenant: a", plainURL).Out }
	if timeout == "0s" {
		if w.Ready() || strings.HasSuffix(status(), " 200") {
			t.Errorf("weir serves without the resource: %s", status())
		}
		if strings.Contains(w.Log(), "gave up waiting") {
			t.Error("weir gave up waiting")
		}
	} else {
		harness.Eventually(t, "weir goes on without", w.Ready)
		if got := status(); !strings.HasSuffix(got, fmt.Sprint(" ", c.without)) {
			t.Errorf("without the resource: %s, want %d", got, c.without)
		}
	}
	if c.late == nil {
		c.scopes(t, p)
	} else {
		name, m := c.late(t, one.Addr)
		if s, ok := m.(*tlsv3.Secret); ok {
			s.GetValidationContext().GetTrustedCa().Specifier = &corev3.DataSource_InlineString{InlineString: ca.PEM}
		}
		if x := p.answered(p.change(m, nil, p.as(name, "1", m))); x.refused != "" {
			t.Errorf("refused: %s", x.refused)
		}
	}
	harness.EventuallyNil(t, "weir serves", func() error {
		if got := status(); !strings.HasSuffix(got, " 200") {
			return fmt.Errorf("got %s", got)
		}
		return nil
	})
	harness.Eventually(t, "weir is ready", w.Ready)
}

// scopes delivers a scope, and the routes that it names.
func (c *awaited) scopes(t *testing.T, p *puppet) {
	t.Helper()
	scope := harness.Resource(t, &routev3.ScopedRouteConfiguration{}, "{name: s, route_configuration_name: main, key: {fragments: [{string_key: a}]}}")
	if x := p.answered(p.change(scope, nil, p.as("s", "1", scope))); x.refused != "" {
		t.Errorf("refused: %s", x.refused)
	}
	p.asked(aRouteTable, "main")
	p.answered(p.change(aRouteTable, nil, p.as("main", "1", routeTable(t, "main", "one"))))
}
