package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weir-proxy/weir/test/harness"
)

// TestSecretsThatTurnBad has the control plane send secrets that cannot be what they are used as, and remove them. The last good
// ones serve on, towards clients and towards hosts.
func TestSecretsThatTurnBad(t *testing.T) {
	t.Parallel()
	host, ca, other := harness.NewHost(t), harness.NewCA(t), harness.NewCA(t)
	closes := harness.WithHandler("/", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("connection", "close") })
	backend := host.HTTPBackend("secure", "127.0.0.1:0", closes, harness.WithTLS(ca.Issue("one.test").Server("http/1.1")))
	p := startPuppet(t, host)
	sds := "sds_config: " + adsSource
	host.StartWeir(harness.WeirOptions{NotReady: true, Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "tls", Address: "127.0.0.1:8443", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")),
			harness.DownstreamTLS("tls_certificate_sds_secret_configs: [{name: cert, "+sds+"}]"))}}.YAML()},
		Clusters: []string{
			harness.Cluster("one", harness.To(backend.Addr), harness.UpstreamTLS("validation_context_sds_secret_config: {name: roots, "+sds+"}", "sni: one.test")),
			harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2()),
		},
		More: "node: {id: e2e, cluster: test}\ndynamic_resources: {" + adsConfig("DELTA_GRPC", envoyGRPC) + "}",
	}.YAML()})
	secret := func(text string) *tlsv3.Secret { return harness.Resource(t, &tlsv3.Secret{}, text) }
	roots := func(name, pem string) *tlsv3.Secret {
		return secret(fmt.Sprintf("{name: %s, validation_context: {trusted_ca: {inline_string: %q}}}", name, pem))
	}
	says := func(m *tlsv3.Secret) string { return p.answered(p.change(m, nil, p.as(m.Name, "1", m))).refused }
	asks := func(what string, want int) {
		t.Helper()
		c, err := handshake(t, host, "127.0.0.1:8443", &tls.Config{RootCAs: ca.Pool, ServerName: "shop.test"})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer c.Close()
		if resp, body := get(t, c, "/"); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", what, resp.StatusCode, body, want)
		}
	}
	p.asked(&tlsv3.Secret{}, "cert")
	p.asked(&tlsv3.Secret{}, "roots")
	cert := ca.Issue("shop.test")
	if bad := says(roots("roots", ca.PEM)) + says(secret(cert.SecretYAML("cert"))); bad != "" {
		t.Fatal(bad)
	}
	harness.Eventually(t, "weir listens", func() bool {
		return host.App().Curl("-k", "https://127.0.0.1:8443/").Status == 0
	})
	asks("at first", 200)
	for _, bad := range []struct {
		what   string
		secret *tlsv3.Secret
		reason string
	}{
		{"roots that are none", roots("roots", "nonsense"), "no PEM certificate found"},
		{"roots that are empty", roots("roots", ""), "no PEM certificate found"},
		{"a certificate in place of roots", secret(cert.SecretYAML("roots")), "it is a tls_certificate, where a validation_context is needed"},
		{"roots in place of a certificate", roots("cert", ca.PEM), "it is a validation_context, where a tls_certificate is needed"},
		{"any bytes in place of a certificate", secret("{name: cert, generic_secret: {secret: {inline_string: x}}}"), "it is a generic_secret, where a tls_certificate is needed"},
		{"nothing in place of a certificate", secret("{name: cert}"), "the secret is empty"},
	} {
		wantContains(t, bad.what, says(bad.secret), bad.reason)
		asks(bad.what, 200)
	}
	t.Log("both are removed")
	p.answered(p.change(&tlsv3.Secret{}, []string{"roots", "cert"}))
	asks("removed", 200)
	t.Log("other roots")
	if bad := says(roots("roots", other.PEM)); bad != "" {
		t.Error(bad)
	}
	asks("other roots", 503)
}

// TestControlPlaneReturnsWhileAClusterWarms has the stream break while a cluster waits for endpoints. On the next one weir tells
// what it holds, asks for what it lacks, and goes on.
func TestControlPlaneReturnsWhileAClusterWarms(t *testing.T) {
	t.Parallel()
	x := startLed(t, "DELTA_GRPC")
	x.accepted(nil, edsCluster(t, "c"))
	x.p.asked(anEndpoint, "c")
	x.p.stop()
	x.p.start()
	if held := x.p.asked(aCluster, "").held; len(held) != 3 || held["c"] == "" {
		t.Errorf("clusters held: %v", held)
	}
	if q := x.p.asked(anEndpoint, "c"); len(q.names) != 3 || len(q.held) != 2 || q.held["a"] == "" {
		t.Errorf("asked for endpoints %v, held %v", q.names, q.held)
	}
	x.accepted(nil, assignment(t, "c", x.two.Addr))
	x.p.asked(aRouteTable, "main")
	x.accepted(nil, routeTable(t, "main", "c"))
	if got := x.body(); got != "two" {
		t.Errorf("got %q", got)
	}
}

// TestClustersComeAndGoUnderTraffic makes a cluster, moves the routes there and back and removes it, in the order that the protocol
// asks for. No request is lost, whichever configuration it comes upon.
func TestClustersComeAndGoUnderTraffic(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := startLed(t, kind)
			stop := newConnections(t, x.host)
			for i := range 10 {
				name := fmt.Sprint("c", i)
				if kind == "GRPC" {
					x.accepted(nil, edsCluster(t, "a"), edsCluster(t, "b"), edsCluster(t, name))
				} else {
					x.accepted(nil, edsCluster(t, name))
				}
				x.p.asked(anEndpoint, name)
				x.accepted(nil, assignment(t, name, x.two.Addr))
				x.accepted(nil, routeTable(t, "main", name))
				if got := x.body(); got != "two" {
					t.Errorf("%d: %q answers", i, got)
				}
				x.accepted(nil, routeTable(t, "main", "a"))
				if kind == "GRPC" {
					x.accepted(nil, edsCluster(t, "a"), edsCluster(t, "b"))
				} else {
					x.p.answered(x.p.change(aCluster, []string{name}))
				}
			}
			if failed := stop(); len(failed) > 0 {
				t.Errorf("%d requests were not served: %v", len(failed), failed[0])
			}
		})
	}
}

// TestClusterAsleepShowsWhatItShowsAwake compares all that tells of hosts before and after the first request.
func TestClusterAsleepShowsWhatItShowsAwake(t *testing.T) {
	t.Parallel()
	x := startLed(t, "GRPC")
	x.accepted(nil, harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, fmt.Sprintf(`{cluster_name: b, endpoints: [
		{locality: {region: r, zone: z, sub_zone: s}, load_balancing_weight: 3, lb_endpoints: [
			{endpoint: {address: %s, hostname: h}, load_balancing_weight: 7, metadata: {filter_metadata: {envoy.lb: {canary: true}}}},
			{endpoint: {address: {socket_address: {address: 127.9.0.1, port_value: 1}}}, health_status: UNHEALTHY},
			{endpoint: {address: {socket_address: {address: 127.9.0.2, port_value: 1}}}, health_status: DEGRADED},
			{endpoint: {address: {socket_address: {address: 127.9.0.3, port_value: 1}}}, health_status: DRAINING},
			{endpoint: {address: {socket_address: {address: 127.9.0.4, port_value: 1}}}, health_status: TIMEOUT},
			{endpoint: {address: {socket_address: {address: "::ffff:127.9.0.5", port_value: 1}}}, health_status: UNHEALTHY},
			{endpoint: {address: {pipe: {path: /nowhere}}}, health_status: UNHEALTHY}]},
		{priority: 1, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.9.1.1, port_value: 1}}}}]}]}`, harness.Address(x.two.Addr.String()))))
	counts := regexp.MustCompile(`(?m)^.*(::[cr][xq]_|[ud]p?stream_[cr][xq]|http1|internal|external|lb_healthy|canary\.|"[cr][xq]_).*\n`)
	fields := regexp.MustCompile(`\{[^{}]*"[cr][xq]_[^{}]*\},?\s*`) // the same of JSON
	pages := func() (out []string) {
		for _, page := range []string{
			"/clusters", "/clusters?format=json", "/stats?filter=^cluster[.]b[.]membership", "/stats?filter=^cluster[.]b[.].*(max_host|lb_|match)",
			"/config_dump?include_eds&resource=dynamic_endpoint_configs",
		} {
			out = append(out, counts.ReplaceAllString(fields.ReplaceAllString(x.w.Page(page), ""), ""))
		}
		return out
	}
	asleep := pages()
	x.accepted(nil, routeTable(t, "main", "b"))
	x.body() // whichever host that is
	x.w.AwaitStat("cluster.b.upstream_cx_total", func(n int) bool { return n > 0 })
	for i, awake := range pages() {
		if awake != asleep[i] {
			t.Errorf("asleep:\n%s\nawake:\n%s", asleep[i], awake)
		}
	}
}
