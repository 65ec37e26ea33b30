package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

const (
	adsSource     = `{resource_api_version: V3, ads: {}}`
	envoyGRPC     = `grpc_services: [{envoy_grpc: {cluster_name: xds}}]`
	controlTarget = "127.0.0.1:18000"
)

// apiConfig is a config source of its own.
func apiConfig(kind, more string) string {
	return fmt.Sprintf(`{resource_api_version: V3, api_config_source: {api_type: %s, transport_api_version: V3, %s}}`, kind, more)
}

// adsConfig is the aggregated stream of a bootstrap.
func adsConfig(kind, services string) string {
	return fmt.Sprintf("ads_config: {api_type: %s, transport_api_version: V3, %s}", kind, services)
}

// transported is how the resources of one test travel: the sources of each type, what the bootstrap has beside, and how the
// cluster "xds" reaches the control plane.
type transported struct {
	cds, lds, eds, rds, sds string
	ads                     string
	cluster                 []string
	// pipe has the control plane at a unix socket, secure has it ask for a certificate and show one.
	pipe, secure bool
}

func all(source string) transported {
	return transported{cds: source, lds: source, eds: source, rds: source, sds: source}
}

// resources are a plain and a TLS listener whose routes go to one of two clusters.
func (x *transported) resources(t *testing.T, cert harness.Certificate, one, two netip.AddrPort, choice string) []proto.Message {
	t.Helper()
	hcm := harness.HTTPManager("rds: {route_config_name: main, config_source: " + x.rds + "}")
	sds := harness.DownstreamTLS("tls_certificate_sds_secret_configs: [{name: cert, sds_config: " + x.sds + "}]")
	cluster := func(name string) *clusterv3.Cluster {
		return harness.Resource(t, &clusterv3.Cluster{}, fmt.Sprintf(`{name: %s, type: EDS, eds_cluster_config: {eds_config: %s}}`, name, x.eds))
	}
	return []proto.Message{
		cluster("one"), cluster("two"),
		harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("one", one)),
		harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("two", two)),
		harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(hcm)}}.YAML()),
		harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "tls", Address: "127.0.0.1:8443", Chains: []string{harness.Chain(hcm, sds)}}.YAML()),
		harness.Resource(t, &routev3.RouteConfiguration{}, harness.RouteConfig("main", harness.RouteTo("/", choice))),
		harness.Resource(t, &tlsv3.Secret{}, cert.SecretYAML("cert")),
	}
}

// serveControl serves xds at a listener until the test ends.
func serveControl(t *testing.T, l net.Listener, cfg *tls.Config) *controlplane.Server {
	t.Helper()
	s := controlplane.New(controlplane.Options{Log: slog.New(slog.DiscardHandler), TLS: cfg})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (x transported) run(t *testing.T) {
	t.Parallel()
	host, ca := harness.NewHost(t), harness.NewCA(t)
	dir := harness.Dir(t)
	harness.WriteFile(t, filepath.Join(dir, "ca.pem"), ca.PEM)
	own := ca.Issue("weir.test")
	harness.WriteFile(t, filepath.Join(dir, "cert.pem"), own.Chain)
	harness.WriteFile(t, filepath.Join(dir, "key.pem"), own.Key)
	place := strings.NewReplacer("@DIR@", dir)

	var l net.Listener
	var cfg *tls.Config
	address := harness.Address(controlTarget)
	if x.pipe {
		var err error
		if l, err = net.Listen("unix", filepath.Join(dir, "xds.sock")); err != nil {
			t.Fatal(err)
		}
		address = "{pipe: {path: " + filepath.Join(dir, "xds.sock") + "}}"
	} else {
		l = host.Listen(controlTarget)
	}
	if x.secure {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ca.PEM))
		cfg = ca.Issue("control.test").Server("h2", "http/1.1")
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	control := serveControl(t, l, cfg)
	one, two := host.HTTPBackend("one", "127.0.0.1:0"), host.HTTPBackend("two", "127.0.0.1:0")
	set := func(choice string) {
		t.Helper()
		if err := control.SetResources(x.resources(t, ca.Issue("shop.test"), one.Addr, two.Addr, choice)); err != nil {
			t.Fatal(err)
		}
	}
	set("one")
	cluster := func(name string, more ...string) string {
		const form = "{name: %s, type: STATIC, load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}"
		return strings.Join(append([]string{fmt.Sprintf(form, name, name, address)}, more...), ", ") + "}"
	}
	weir := host.StartWeir(harness.WeirOptions{Config: place.Replace(harness.Bootstrap{
		Clusters: []string{cluster("xds", x.cluster...), cluster("poll")},
		More:     fmt.Sprintf("node: {id: e2e, cluster: test}\ndynamic_resources: {cds_config: %s, lds_config: %s, %s}", x.cds, x.lds, x.ads),
	}.YAML())})
	for _, choice := range []string{"one", "two"} {
		set(choice)
		harness.Eventually(t, "the route leads to "+choice, func() bool {
			return strings.TrimSpace(host.App().Curl(plainURL).Out) == choice
		})
		wantOK(t, host.App().Curl("--cacert", dir+"/ca.pem", "--resolve", "shop.test:8443:127.0.0.1", "https://shop.test:8443/"), choice)
	}
	for line := range strings.Lines(weir.Page("/stats?filter=update_rejected")) {
		if !strings.HasSuffix(strings.TrimSpace(line), ": 0") {
			t.Errorf("rejected: %s", line)
		}
	}
}

// TestTransports has the same resources travel in every way there is.
func TestTransports(t *testing.T) {
	t.Parallel()
	http2 := []string{harness.HTTP2()}
	mutual := harness.UpstreamTLS(`tls_certificates: [{certificate_chain: {filename: "@DIR@/cert.pem"}, private_key: {filename: "@DIR@/key.pem"}}], `+
		`validation_context: {trusted_ca: {filename: "@DIR@/ca.pem"}}`, "sni: control.test")
	rest := apiConfig("REST", "cluster_names: [xds], refresh_delay: 0.05s")
	google := func(target, more string) string {
		return fmt.Sprintf(`grpc_services: [{google_grpc: {target_uri: "%s", stat_prefix: control %s}}]`, target, more)
	}
	const ssl = `, channel_credentials: {ssl_credentials: {root_certs: {filename: "@DIR@/ca.pem"}, cert_chain: {filename: "@DIR@/cert.pem"}, ` +
		`private_key: {filename: "@DIR@/key.pem"}}}, channel_args: {args: {grpc.ssl_target_name_override: {string_value: control.test}}}`
	with := func(x transported, change func(*transported)) transported {
		change(&x)
		return x
	}
	for name, x := range map[string]transported{
		"REST":              all(rest),
		"REST at a pipe":    with(all(rest), func(x *transported) { x.pipe = true }),
		"REST over TLS":     with(all(rest), func(x *transported) { x.secure, x.cluster = true, []string{mutual} }),
		"streams by type":   with(all(apiConfig("GRPC", envoyGRPC)), func(x *transported) { x.cluster = http2 }),
		"deltas by type":    with(all(apiConfig("DELTA_GRPC", envoyGRPC)), func(x *transported) { x.cluster = http2 }),
		"aggregated":        with(all(apiConfig("AGGREGATED_GRPC", envoyGRPC)), func(x *transported) { x.cluster = http2 }),
		"aggregated deltas": with(all(apiConfig("AGGREGATED_DELTA_GRPC", envoyGRPC)), func(x *transported) { x.cluster = http2 }),
		"mixed": {
			cds: adsSource, lds: apiConfig("DELTA_GRPC", envoyGRPC), eds: adsSource, rds: strings.Replace(rest, "[xds]", "[poll]", 1), sds: apiConfig("GRPC", envoyGRPC),
			ads: adsConfig("DELTA_GRPC", envoyGRPC), cluster: http2,
		},
		"ADS at a pipe": with(all(adsSource), func(x *transported) { x.pipe, x.ads, x.cluster = true, adsConfig("GRPC", envoyGRPC), http2 }),
		"ADS over TLS": with(all(adsSource), func(x *transported) {
			x.secure, x.ads, x.cluster = true, adsConfig("DELTA_GRPC", envoyGRPC), append([]string{mutual}, http2...)
		}),
		"google_grpc by name":    with(all(adsSource), func(x *transported) { x.ads = adsConfig("GRPC", google("dns:///localhost:18000", "")) }),
		"google_grpc by address": with(all(adsSource), func(x *transported) { x.ads = adsConfig("DELTA_GRPC", google("ipv4:127.0.0.9:1,127.0.0.1:18000", "")) }),
		"google_grpc at a pipe": with(all(adsSource), func(x *transported) {
			x.pipe, x.ads = true, adsConfig("GRPC", google("unix:@DIR@/xds.sock", ", channel_credentials: {local_credentials: {}}"))
		}),
		"google_grpc over TLS": with(all(adsSource), func(x *transported) {
			x.secure, x.ads = true, adsConfig("GRPC", google("127.0.0.1:18000", ssl+", call_credentials: [{access_token: t0ken}]"))
		}),
	} {
		t.Run(name, x.run)
	}
}
