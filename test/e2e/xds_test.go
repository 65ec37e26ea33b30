package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
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
	controlPlaneAddr = "127.0.0.1:18000"
	plainURL         = "http://127.0.0.1:8080/"
)

// mesh is everything that a control plane serves in these tests: two versions of a backend, plain and TLS listeners, a route
// and a secret, each from its own service.
type mesh struct {
	t           *testing.T
	one, two    []netip.AddrPort
	weights     [2]int
	certificate harness.Certificate
	// more are further resources.
	more []proto.Message
}

func (m mesh) resources() []proto.Message {
	t := m.t
	hcm := harness.HTTPManager("rds: {route_config_name: main, config_source: {resource_api_version: V3, ads: {}}}")
	sds := harness.DownstreamTLS("tls_certificate_sds_secret_configs: [{name: cert, sds_config: {resource_api_version: V3, ads: {}}}]")
	route := fmt.Sprintf(`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: one, weight: %d}, {name: two, weight: %d}]}}}`,
		m.weights[0], m.weights[1])
	eds := func(name string) string {
		return fmt.Sprintf(`{name: %s, type: EDS, eds_cluster_config: {eds_config: {resource_api_version: V3, ads: {}}}}`, name)
	}
	all := []proto.Message{
		harness.Resource(t, &clusterv3.Cluster{}, eds("one")),
		harness.Resource(t, &clusterv3.Cluster{}, eds("two")),
		harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("one", m.one...)),
		harness.Resource(t, &endpointv3.ClusterLoadAssignment{}, harness.Endpoints("two", m.two...)),
		harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(hcm)}}.YAML()),
		harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "tls", Address: "127.0.0.1:8443", Chains: []string{harness.Chain(hcm, sds)}}.YAML()),
		harness.Resource(t, &routev3.RouteConfiguration{}, harness.RouteConfig("main", route)),
		harness.Resource(t, &tlsv3.Secret{}, m.certificate.SecretYAML("cert")),
	}
	return append(all, m.more...)
}

// meshed is a host with a control plane, two backends and a weir that follows it.
type meshed struct {
	mesh
	host     *harness.Host
	ca       *harness.CA
	control  *harness.ControlPlane
	weir     *harness.Weir
	one, two *harness.HTTPBackend
}

func startMesh(t *testing.T, kind string, captured ...*harness.Cgroup) *meshed {
	t.Helper()
	host := harness.NewHost(t)
	m := &meshed{host: host, ca: harness.NewCA(t), one: host.HTTPBackend("one", "127.0.0.1:0"), two: host.HTTPBackend("two", "127.0.0.1:0")}
	m.control = host.ControlPlane(controlPlaneAddr)
	m.mesh = mesh{t: t, one: harness.To(m.one.Addr), two: harness.To(m.two.Addr), weights: [2]int{100, 0}, certificate: m.ca.Issue("shop.test")}
	m.control.Set(m.resources()...)
	m.weir = host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:     harness.ADS(kind),
	}.YAML(), Capture: captured})
	return m
}

// body asks the plain listener.
func (m *meshed) body(t *testing.T) string {
	t.Helper()
	got := m.host.App().Curl(plainURL)
	return strings.TrimSpace(got.Out)
}

var bothKinds = []string{"GRPC", "DELTA_GRPC"}

func TestADS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			if got := m.body(t); got != "one" {
				t.Fatalf("got %q, want one\n", got)
			}
			m.tlsAnswers(t, "one")
			t.Log("a route changes")
			m.weights = [2]int{0, 100}
			m.control.Set(m.resources()...)
			harness.Eventually(t, "the route changes", func() bool { return m.body(t) == "two" })
			t.Log("endpoints change")
			three := m.host.HTTPBackend("three", "127.0.0.1:0")
			m.mesh.two = harness.To(three.Addr)
			m.control.Set(m.resources()...)
			harness.Eventually(t, "the endpoint changes", func() bool { return m.body(t) == "three" })
			t.Log("a listener comes and goes")
			before := m.more
			m.more = append(slices.Clone(before), harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
				Name: "late", Address: "127.0.0.1:8081", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")))},
			}.YAML()))
			m.control.Set(m.resources()...)
			harness.Eventually(t, "the listener comes", func() bool {
				return strings.TrimSpace(m.host.App().Curl("http://127.0.0.1:8081/").Out) == "one"
			})
			m.more = before
			m.control.Set(m.resources()...)
			harness.Eventually(t, "the listener goes", func() bool { return m.host.App().Curl("http://127.0.0.1:8081/").Status != 0 })
			if got := m.body(t); got != "three" {
				t.Errorf("got %q, want three", got)
			}
			for _, e := range m.control.Events() {
				if e.Kind == controlplane.Rejected {
					t.Errorf("rejected: %+v", e)
				}
				if e.Node != "e2e" || e.Delta != (kind == "DELTA_GRPC") {
					t.Errorf("unexpected client: %+v", e)
				}
			}
		})
	}
}

// tlsAnswers asks the TLS listener with a client that verifies.
func (m *meshed) tlsAnswers(t *testing.T, want string) {
	t.Helper()
	file := harness.Dir(t) + "/ca.pem"
	harness.WriteFile(t, file, m.ca.PEM)
	wantOK(t, m.host.App().Curl("--cacert", file, "--resolve", "shop.test:8443:127.0.0.1", "https://shop.test:8443/"), want)
}

// answered asks once and checks the answer.
func answered(t *testing.T, c *http.Client) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plainURL, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != resp.Header.Get("X-Backend")+"\n") {
		err = fmt.Errorf("status %d, body %q", resp.StatusCode, body)
	}
	return err
}

// unimplemented is a network filter that Envoy has and weir has not.
const unimplemented = `{name: mongo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy, stat_prefix: x}}`

// One bad resource among good ones is rejected by name with the reason; the good ones are taken, and the old state of the bad
// one goes on serving.
func TestRejectedResource(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			resources := slices.DeleteFunc(m.resources(), func(r proto.Message) bool {
				l, ok := r.(*listenerv3.Listener)
				return ok && l.GetName() == "plain"
			})
			resources = append(resources, harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
				Name: "plain", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(unimplemented)},
			}.YAML()))
			late := harness.Listener{Name: "late", Address: "127.0.0.1:8081", Chains: []string{harness.Chain(harness.HTTP(harness.RouteTo("/", "one")))}}
			resources = append(resources, harness.Resource(t, &listenerv3.Listener{}, late.YAML()))
			m.control.Set(resources...)
			reason := m.control.AwaitRejection("Listener")
			wantContains(t, "reason", reason, "plain", "mongo_proxy")
			if strings.Contains(reason, "late") {
				t.Errorf("the reason blames a good listener: %s", reason)
			}
			if got := m.body(t); got != "one" {
				t.Errorf("the old listener answers %q", got)
			}
			harness.Eventually(t, "the good listener is taken", func() bool {
				return strings.TrimSpace(m.host.App().Curl("http://127.0.0.1:8081/").Out) == "one"
			})
			if n := m.weir.Stat("listener_manager.lds.update_rejected"); n == 0 {
				t.Error("listener_manager.lds.update_rejected is 0")
			}
			m.control.Set(m.resources()...)
			harness.Eventually(t, "the mended set is taken", func() bool { return m.host.App().Curl("http://127.0.0.1:8081/").Status != 0 })
		})
	}
}

func TestControlPlaneDiesAndReturns(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, kind)
			m.weir.AwaitStat("control_plane.connected_state", func(n int) bool { return n == 1 })
			m.control.Stop()
			m.weir.AwaitStat("control_plane.connected_state", func(n int) bool { return n == 0 })
			if got := m.body(t); got != "one" {
				t.Errorf("without the control plane: %q", got)
			}
			m.weights = [2]int{0, 100}
			m.control.Set(m.resources()...)
			m.control.Start()
			harness.Eventually(t, "the new state is taken", func() bool { return m.body(t) == "two" })
			if !m.weir.Ready() {
				t.Error("weir is not ready")
			}
		})
	}
}
