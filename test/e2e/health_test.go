package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/service/health/v3"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weir-proxy/weir/test/harness"
)

// moody answers its health check as it feels.
type moody struct {
	*harness.HTTPBackend
	status atomic.Int32
}

func startMoody(host *harness.Host, name string, status int32) *moody {
	m := &moody{}
	m.status.Store(status)
	m.HTTPBackend = host.HTTPBackend(name, "127.0.0.1:0", harness.WithHandler("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "Envoy/HC" || r.Host != "shop" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(int(m.status.Load()))
	}), harness.WithHandler("/leave", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Envoy-Immediate-Health-Check-Fail", "true")
	}))
	return m
}

// healthCheck checks quickly, so that tests are quick.
func healthCheck(checker string, more ...string) string {
	return fmt.Sprintf(`{timeout: 5s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 2, healthy_threshold: 2, %s}`,
		strings.Join(append(more, checker), ", "))
}

// A host is out as soon as it says that it is unwell, and comes back.
func TestHealthCheckHTTP(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a, b := startMoody(host, "a", 200), startMoody(host, "b", 503)
	events := filepath.Join(harness.Dir(t), "events.json")
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/", "shop")},
		clusters: []string{harness.Cluster("shop", harness.To(a.Addr, b.Addr), "common_lb_config: {healthy_panic_threshold: {value: 0}}",
			"health_checks: ["+healthCheck("http_health_check: {path: /healthz}", "event_log_path: "+events)+"]")},
	})
	// Weir was ready only after the first round, so the unwell host got nothing.
	for range 6 {
		r.want(200, "a")(r.get("/"))
	}
	r.stats(map[string]int{"cluster.shop.membership_healthy": 1, "cluster.shop.membership_total": 2, "cluster.shop.health_check.healthy": 1})
	if text := r.weir.Page("/clusters"); !strings.Contains(text, "shop::"+b.Addr.String()+"::health_flags::/failed_active_hc\n") ||
		!strings.Contains(text, "shop::"+a.Addr.String()+"::health_flags::healthy\n") {
		t.Errorf("/clusters does not tell who is well:\n%s", text)
	}
	b.status.Store(200)
	a.status.Store(500)
	harness.Eventually(t, "the other host serves", func() bool {
		_, text := r.get("/")
		return text == "b\n"
	})
	r.weir.AwaitStat("cluster.shop.membership_healthy", func(n int) bool { return n == 1 })
	b.status.Store(500)
	r.weir.AwaitStat("cluster.shop.membership_healthy", func(n int) bool { return n == 0 })
	r.want(503, "no healthy upstream")(r.get("/"))
	a.status.Store(200)
	r.weir.AwaitStat("cluster.shop.membership_healthy", func(n int) bool { return n == 1 })
	r.want(200, "")(r.get("/leave"))
	r.weir.AwaitStat("cluster.shop.health_check.passive_failure", func(n int) bool { return n == 1 })
	r.weir.Stop()
	checkHealthEvents(t, events, b.Addr.String())
}

// checkHealthEvents reads the event log: the host at unwell failed its first check and came later.
func checkHealthEvents(t *testing.T, path, unwell string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var e struct {
			Type    string `json:"health_checker_type"`
			Cluster string `json:"cluster_name"`
			Host    struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"host"`
			Failure *struct {
				Type  string `json:"failure_type"`
				First bool   `json:"first_check"`
			} `json:"health_check_failure_event"`
			Eject *struct {
				Type string `json:"failure_type"`
			} `json:"eject_unhealthy_event"`
			Add *struct{} `json:"add_healthy_event"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Type != "HTTP" || e.Cluster != "shop" {
			t.Fatalf("an event that is none: %v: %s", err, line)
		}
		if net.JoinHostPort(e.Host.Socket.Address, fmt.Sprint(e.Host.Socket.Port)) != unwell {
			continue
		}
		seen["first failure"] = seen["first failure"] || e.Failure != nil && e.Failure.First && e.Failure.Type == "ACTIVE"
		seen["added"] = seen["added"] || e.Add != nil
		seen["ejected"] = seen["ejected"] || e.Eject != nil && e.Eject.Type == "ACTIVE"
	}
	for _, what := range []string{"first failure", "added", "ejected"} {
		if !seen[what] {
			t.Errorf("no event %q of %s in\n%s", what, unwell, text)
		}
	}
}

// gRPC services and plain TCP are checked too, at another port when the endpoint says so.
func TestHealthCheckGRPCAndTCP(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a := host.HTTPBackend("a", "127.0.0.1:0")
	service := grpchealth.NewServer()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, service)
	listener := host.Listen("127.0.0.1:9300")
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	echo := host.TCPBackend("127.0.0.1:9301", harness.Echo)
	service.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_SERVING)
	cluster := func(name string, port int, checker string) string {
		return fmt.Sprintf(`{name: %s, common_lb_config: {healthy_panic_threshold: {value: 0}}, health_checks: [%s], load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [`+
			`{endpoint: {address: %s, health_check_config: {port_value: %d}}}]}]}}`, name, healthCheck(checker), name, harness.Address(a.Addr.String()), port)
	}
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/grpc", "grpc"), harness.RouteTo("/tcp", "tcp"), harness.RouteTo("/mute", "mute")},
		clusters: []string{
			cluster("grpc", 9300, "grpc_health_check: {service_name: shop.Cart}"),
			cluster("tcp", 9301, "tcp_health_check: {send: {text: 70696e67}, receive: [{text: 70696e67}]}"),
			cluster("mute", 9301, "tcp_health_check: {send: {text: 70696e67}, receive: [{text: 706f6e67}]}"),
		},
	})
	r.want(200, "a")(r.get("/grpc"))
	r.want(200, "a")(r.get("/tcp"))
	r.want(503, "no healthy upstream")(r.get("/mute"))
	if echo.Accepted() == 0 {
		t.Error("nobody checked the port that the endpoint names")
	}
	service.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	r.weir.AwaitStat("cluster.grpc.membership_healthy", func(n int) bool { return n == 0 })
	r.want(503, "no healthy upstream")(r.get("/grpc"))
	service.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_SERVING)
	r.weir.AwaitStat("cluster.grpc.membership_healthy", func(n int) bool { return n == 1 })
	server.Stop()
	r.weir.AwaitStat("cluster.grpc.health_check.network_failure", func(n int) bool { return n >= 2 })
	r.weir.AwaitStat("cluster.grpc.membership_healthy", func(n int) bool { return n == 0 })
}

// A host that the control plane forgets serves on while it passes its checks.
func TestHealthCheckKeepsRemovedHost(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a, b := startMoody(host, "a", 200), startMoody(host, "b", 200)
	file := filepath.Join(harness.Dir(t), "eds.yaml")
	write := func(addrs ...*moody) {
		text := `{"@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment, cluster_name: shop, endpoints: [{lb_endpoints: [`
		for _, m := range addrs {
			text += `{endpoint: {address: ` + harness.Address(m.Addr.String()) + `}}, `
		}
		harness.WriteFile(t, file, "resources: ["+text+"]}]}]")
	}
	write(a, b)
	r := startRig(t, host, rigConfig{
		routes: []string{harness.RouteTo("/", "shop")},
		clusters: []string{`{name: shop, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: ` + file + `}}}, ` +
			`health_checks: [` + healthCheck("http_health_check: {path: /healthz}") + `]}`},
	})
	r.weir.AwaitStat("cluster.shop.membership_healthy", func(n int) bool { return n == 2 })
	write(a)
	harness.Eventually(t, "the removed host is marked", func() bool {
		return strings.Contains(r.weir.Page("/clusters"), b.Addr.String()+"::health_flags::/pending_dynamic_removal")
	})
	r.stats(map[string]int{"cluster.shop.membership_total": 2})
	b.status.Store(503)
	r.weir.AwaitStat("cluster.shop.membership_total", func(n int) bool { return n == 1 })
	r.want(200, "a")(r.get("/"))
}

// scriptedHDS asks for checks and keeps what it is told.
type scriptedHDS struct {
	healthv3.UnimplementedHealthDiscoveryServiceServer
	asks   chan *healthv3.HealthCheckSpecifier
	hello  chan *healthv3.HealthCheckRequest
	health chan *healthv3.EndpointHealthResponse
}

func (s *scriptedHDS) StreamHealthCheck(stream healthv3.HealthDiscoveryService_StreamHealthCheckServer) error {
	go func() {
		for {
			select {
			case ask := <-s.asks:
				if stream.Send(ask) != nil {
					return
				}
			case <-stream.Context().Done():
				return
			}
		}
	}()
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h := m.GetHealthCheckRequest(); h != nil {
			s.hello <- h
		}
		if h := m.GetEndpointHealthResponse(); h != nil {
			select {
			case s.health <- h:
			case <-stream.Context().Done():
				return nil
			}
		}
	}
}

// await reads reports until one is as wanted: the health by address.
func (s *scriptedHDS) await(t *testing.T, want map[string]corev3.HealthStatus) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case <-deadline:
			t.Fatalf("no report of %v", want)
		case r := <-s.health:
			got := map[string]corev3.HealthStatus{}
			for _, c := range r.GetClusterEndpointsHealth() {
				for _, l := range c.GetLocalityEndpointsHealth() {
					for _, e := range l.GetEndpointsHealth() {
						a := e.GetEndpoint().GetAddress().GetSocketAddress()
						got[c.GetClusterName()+"/"+l.GetLocality().GetZone()+"/"+fmt.Sprint(a.GetPortValue())] = e.GetHealthStatus()
					}
				}
			}
			if fmt.Sprint(got) == fmt.Sprint(want) {
				return
			}
		}
	}
}

// A management server has hosts checked that weir sends no traffic to.
func TestHealthDiscovery(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a := startMoody(host, "a", 200)
	mute := host.TCPBackend("127.0.0.1:9400", harness.Echo)
	hds := &scriptedHDS{asks: make(chan *healthv3.HealthCheckSpecifier, 1), hello: make(chan *healthv3.HealthCheckRequest, 8), health: make(chan *healthv3.EndpointHealthResponse)}
	server := grpc.NewServer()
	healthv3.RegisterHealthDiscoveryServiceServer(server, hds)
	listener := host.Listen("127.0.0.1:9500")
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	w := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("hds", harness.To(netip.MustParseAddrPort("127.0.0.1:9500")), harness.HTTP2())},
		More: `node: {id: prober, cluster: edge}
hds_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: hds}}]}`,
	}.YAML()})
	if hello := <-hds.hello; hello.GetNode().GetId() != "prober" || len(hello.GetCapability().GetHealthCheckProtocols()) == 0 {
		t.Fatalf("hello: %v", hello)
	}
	spec := func(checker string) *healthv3.HealthCheckSpecifier {
		return harness.Resource(t, &healthv3.HealthCheckSpecifier{}, fmt.Sprintf(`{interval: 0.05s, cluster_health_checks: [{cluster_name: shop, `+
			`health_checks: [%s], locality_endpoints: [{locality: {zone: z}, endpoints: [{address: %s}, {address: %s}]}]}]}`,
			checker, harness.Address(a.Addr.String()), harness.Address(mute.Addr.String())))
	}
	one, two := fmt.Sprintf("shop/z/%d", a.Addr.Port()), "shop/z/9400"
	hds.asks <- spec(healthCheck("http_health_check: {path: /healthz}"))
	hds.await(t, map[string]corev3.HealthStatus{one: corev3.HealthStatus_HEALTHY, two: corev3.HealthStatus_UNHEALTHY})
	a.status.Store(503)
	hds.await(t, map[string]corev3.HealthStatus{one: corev3.HealthStatus_UNHEALTHY, two: corev3.HealthStatus_UNHEALTHY})
	// Two checks of one host: it must pass both.
	hds.asks <- spec(healthCheck("tcp_health_check: {}"))
	hds.await(t, map[string]corev3.HealthStatus{one: corev3.HealthStatus_HEALTHY, two: corev3.HealthStatus_HEALTHY})
	hds.asks <- spec(healthCheck("tcp_health_check: {}") + ", " + healthCheck("http_health_check: {path: /healthz}"))
	hds.await(t, map[string]corev3.HealthStatus{one: corev3.HealthStatus_UNHEALTHY, two: corev3.HealthStatus_UNHEALTHY})
	if n := w.Stat("hds_delegate.updates"); n != 3 {
		t.Errorf("hds_delegate.updates is %d, want 3", n)
	}
}

// TestHealthDiscoveryGoesOn has the management server take a cluster back, ask for what cannot be checked, and go away for a while.
func TestHealthDiscoveryGoesOn(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	a := startMoody(host, "a", 200)
	hds := &scriptedHDS{asks: make(chan *healthv3.HealthCheckSpecifier, 1), hello: make(chan *healthv3.HealthCheckRequest, 8), health: make(chan *healthv3.EndpointHealthResponse)}
	start := func() (stop func()) {
		server, l := grpc.NewServer(), host.Listen("127.0.0.1:9500")
		healthv3.RegisterHealthDiscoveryServiceServer(server, hds)
		go func() { _ = server.Serve(l) }()
		t.Cleanup(server.Stop)
		return server.Stop
	}
	stop := start()
	w := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("hds", harness.To(netip.MustParseAddrPort("127.0.0.1:9500")), harness.HTTP2())},
		More: `node: {id: prober, cluster: edge}
hds_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: hds}}]}`,
	}.YAML()})
	<-hds.hello
	cluster := func(name, checker, address string) string {
		return fmt.Sprintf(`{cluster_name: %s, health_checks: [%s], locality_endpoints: [{locality: {zone: z}, endpoints: [{address: %s}]}, {locality: {zone: empty}}]}`, name, checker, address)
	}
	check, address := healthCheck("http_health_check: {path: /healthz, host: shop}"), harness.Address(a.Addr.String())
	asks := func(clusters ...string) {
		hds.asks <- harness.Resource(t, &healthv3.HealthCheckSpecifier{}, "{interval: 0.05s, cluster_health_checks: ["+strings.Join(clusters, ", ")+"]}")
	}
	name := func(cluster string) string { return fmt.Sprintf("%s/z/%d", cluster, a.Addr.Port()) }
	asks(cluster("shop", check, address), cluster("other", check, address))
	hds.await(t, map[string]corev3.HealthStatus{name("shop"): corev3.HealthStatus_HEALTHY, name("other"): corev3.HealthStatus_HEALTHY})
	asks(cluster("other", check, address))
	hds.await(t, map[string]corev3.HealthStatus{name("other"): corev3.HealthStatus_HEALTHY})
	for _, bad := range []string{
		"{}", cluster("bad", "{}", address), cluster("bad", check, "{}"), cluster("''", check, address), cluster("other", check, address),
		cluster("bad", check, "{socket_address: {address: a.name, port_value: 1}}"),
	} {
		before := w.Stat("hds_delegate.errors")
		asks(cluster("other", check, address), bad)
		w.AwaitStat("hds_delegate.errors", func(n int) bool { return n == before+1 })
		hds.await(t, map[string]corev3.HealthStatus{name("other"): corev3.HealthStatus_HEALTHY})
	}
	stop()
	a.status.Store(503)
	start()
	<-hds.hello
	asks(cluster("other", check, address))
	hds.await(t, map[string]corev3.HealthStatus{name("other"): corev3.HealthStatus_UNHEALTHY})
	asks()
	hds.await(t, map[string]corev3.HealthStatus{})
}
