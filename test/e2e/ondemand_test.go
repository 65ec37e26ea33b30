package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/test/harness"
)

const deltaADS = "{resource_api_version: V3, ads: {}}"

// ownDelta is a source with a stream of its own.
const ownDelta = "{resource_api_version: V3, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}"

// onDemandFilter is the filter on_demand; odcds is where clusters come from, or empty.
func onDemandFilter(odcds string) string {
	if odcds != "" {
		odcds = "odcds: {" + odcds + "}"
	}
	return harness.HTTPFilter("envoy.filters.http.on_demand", harness.HTTPFilterConfig("on_demand.v3.OnDemand", odcds))
}

// demanded is a host with a control plane that a test has in hand.
type demanded struct {
	t      *testing.T
	host   *harness.Host
	script *harness.Script
	weir   *harness.Weir
}

func newDemanded(t *testing.T) *demanded {
	host := harness.NewHost(t)
	return &demanded{t: t, host: host, script: host.Script(controlPlaneAddr)}
}

// start starts a weir that follows the control plane, with these listeners and clusters beside.
func (s *demanded) start(clusters ...string) {
	s.weir = s.host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: append(clusters, harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())),
		More:     harness.ADS("DELTA_GRPC"),
	}.YAML()})
}

// listener announces a listener on port 8080 with an HTTP connection manager or any other filter.
func (s *demanded) listener(filter string) {
	s.script.Put("web", harness.ScriptItem{Announced: true, Message: harness.Resource(s.t, &listenerv3.Listener{}, harness.Listener{
		Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(filter)},
	}.YAML())})
}

// routes announces a route configuration.
func (s *demanded) routes(name, text string) {
	s.script.Put(name, harness.ScriptItem{Message: harness.Resource(s.t, &routev3.RouteConfiguration{}, text)})
}

// virtualHost gives the control plane a virtual host; aliases are what it is asked for as.
func (s *demanded) virtualHost(name, text string, announced bool, domains []string, aliases ...string) {
	s.script.Put("main/"+name, harness.ScriptItem{Announced: announced, Aliases: aliases, Message: harness.Resource(s.t, &routev3.VirtualHost{}, fmt.Sprintf(
		`{name: %s, domains: [%s], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: %q}}}]}`, name, strings.Join(domains, ", "), text))})
}

// get asks for a path of a host.
func (s *demanded) get(host, path string, headers ...string) (int, string) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://127.0.0.1:8080"+path, nil)
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	req.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.host.Client().Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

func (s *demanded) gets(host, path string, status int, body string, headers ...string) {
	s.t.Helper()
	if code, got := s.get(host, path, headers...); code != status || got != body && status == 200 {
		s.t.Errorf("%s%s: %d %q, want %d %q", host, path, code, got, status, body)
	}
}

func (s *demanded) eventually(host, path string, status int, body string) {
	s.t.Helper()
	harness.EventuallyNil(s.t, host+path, func() error {
		if code, got := s.get(host, path); code != status || got != body && status == 200 {
			return fmt.Errorf("%d %q, want %d %q", code, got, status, body)
		}
		return nil
	})
}

// asks counts how often the control plane was asked for something.
func (s *demanded) asks(what string) (n int) {
	for _, a := range s.script.Asked() {
		if a == what {
			n++
		}
	}
	return n
}

func (s *demanded) awaitAsked(what string) {
	s.t.Helper()
	harness.Eventually(s.t, "question "+what, func() bool { return slices.Contains(s.script.Asked(), what) })
}

func TestVHDS(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{"aggregated": deltaADS, "a stream of its own": ownDelta} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testVHDS(t, source)
		})
	}
}

func testVHDS(t *testing.T, source string) {
	s := newDemanded(t)
	s.listener(harness.HTTPFilters([]string{onDemandFilter("")}, "rds: {route_config_name: main, config_source: "+deltaADS+"}"))
	s.routes("main", "{name: main, vhds: {config_source: "+source+"}, virtual_hosts: "+
		"[{name: own, domains: [own.test], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: own}}}]}]}")
	s.virtualHost("early", "early", true, []string{"early.test"})
	s.virtualHost("shop", "shop", false, []string{"shop.test", "'*.shop.test'"}, "main/shop.test", "main/www.shop.test")
	s.start()
	s.gets("own.test", "/", 200, "own")
	s.gets("early.test", "/", 200, "early")
	if n := len(s.script.Refused()); n > 0 {
		t.Errorf("refused: %v", s.script.Refused())
	}

	t.Log("a host that is asked for once")
	s.gets("Shop.test", "/", 200, "shop")
	s.gets("shop.test", "/", 200, "shop")
	s.gets("www.shop.test", "/", 200, "shop")
	s.gets("any.shop.test", "/", 200, "shop")
	if n := s.asks("+VirtualHost main/shop.test"); n != 1 {
		t.Errorf("asked %d times for one virtual host", n)
	}
	if n := s.weir.Stat("http.ingress.vhds.main.config_reload"); n != 2 {
		t.Errorf("config_reload is %d", n)
	}

	t.Log("a host that is nowhere")
	s.gets("unknown.test", "/", 404, "")
	wantLog(t, s.weir, "404 NR route_not_found /")
	s.awaitAsked("-VirtualHost main/unknown.test")
	s.virtualHost("late", "late", false, []string{"unknown.test"}, "main/unknown.test")
	s.gets("unknown.test", "/", 200, "late")

	wantContains(t, "explain", s.weir.Page("/weir/explain?dst=127.0.0.1:8080&host=nowhere.test"), "nor one that VHDS has sent; a request waits while VHDS is asked for it")
	wantContains(t, "explain", s.weir.Page("/weir/explain?dst=127.0.0.1:8080&host=any.shop.test"), "virtual host shop")
	wantContains(t, "config_dump", s.weir.Page("/config_dump?resource=dynamic_route_configs"), `"name": "main"`, `"vhds"`, `"*.shop.test"`)

	t.Log("changes and removal")
	s.virtualHost("shop", "new shop", false, []string{"shop.test"}, "main/shop.test")
	s.eventually("shop.test", "/", 200, "new shop")
	s.script.Remove(&routev3.VirtualHost{}, "main/shop")
	s.eventually("shop.test", "/", 404, "")
	s.gets("own.test", "/", 200, "own")

	t.Log("a domain that is taken")
	s.virtualHost("thief", "stolen", true, []string{"own.test"})
	harness.Eventually(t, "a rejection", func() bool { return len(s.script.Refused()) > 0 })
	if got := s.script.Refused()[0]; !strings.Contains(got, "domain own.test of virtual host thief is that of own in route main") {
		t.Errorf("refused for %q", got)
	}
	s.gets("own.test", "/", 200, "own")

	t.Log("the routes change and the virtual hosts stay")
	s.routes("main", "{name: main, vhds: {config_source: "+source+"}, virtual_hosts: "+
		"[{name: own, domains: [own.test], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: other}}}]}]}")
	s.eventually("own.test", "/", 200, "other")
	s.gets("early.test", "/", 200, "early")
}

func TestVHDSManyWait(t *testing.T) {
	t.Parallel()
	s := newDemanded(t)
	s.listener(harness.HTTPFilters([]string{onDemandFilter("")}, "rds: {route_config_name: main, config_source: "+deltaADS+"}"))
	s.routes("main", "{name: main, vhds: {config_source: {initial_fetch_timeout: 2s, resource_api_version: V3, ads: {}}}}")
	s.start()
	s.eventually("none.test", "/", 404, "")
	s.script.Silence(true)
	const many = 20
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() { s.gets("shop.test", "/", 200, "shop") })
	}
	s.awaitAsked("+VirtualHost main/shop.test")
	harness.Eventually(t, "all requests under way", func() bool { return s.weir.Stat("http.ingress.downstream_rq_active") == many })
	s.script.Silence(false)
	s.virtualHost("shop", "shop", false, []string{"shop.test"}, "main/shop.test")
	wg.Wait()
	if n := s.asks("+VirtualHost main/shop.test"); n != 1 {
		t.Errorf("asked %d times for one virtual host", n)
	}

	t.Log("a control plane that does not answer")
	s.script.Silence(true)
	start := time.Now()
	s.gets("slow.test", "/", 404, "")
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("the request waited %s", took)
	}
	s.awaitAsked("-VirtualHost main/slow.test")

	t.Log("a client that leaves")
	conn := s.host.MustDial("127.0.0.1:8080")
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nhost: gone.test\r\n\r\n")
	s.awaitAsked("+VirtualHost main/gone.test")
	conn.Close()
	s.weir.AwaitStat("http.ingress.downstream_rq_active", func(n int) bool { return n == 0 })
	s.awaitAsked("-VirtualHost main/gone.test")
}

func TestODCDS(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{"aggregated": deltaADS, "a stream of its own": ownDelta} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testODCDS(t, source)
		})
	}
}

func testODCDS(t *testing.T, source string) {
	s := newDemanded(t)
	one := s.host.HTTPBackend("one", "127.0.0.1:0")
	cluster := func(name string, announced bool) {
		s.script.Put(name, harness.ScriptItem{Announced: announced, Message: harness.Resource(t, &clusterv3.Cluster{}, harness.Cluster(name, harness.To(one.Addr)))})
	}
	cluster("usual", true)
	cluster("lazy", false)
	s.listener(harness.HTTPFilters([]string{onDemandFilter("source: " + source + ", timeout: 1s")}, "route_config: {name: r, validate_clusters: false, virtual_hosts: [{name: all, domains: ['*'], routes: ["+strings.Join([]string{
		`{match: {prefix: /usual}, route: {cluster: usual}}`,
		`{match: {prefix: /lazy}, route: {cluster: lazy}}`,
		`{match: {prefix: /missing}, route: {cluster: missing, cluster_not_found_response_code: NOT_FOUND}}`,
		`{match: {prefix: /off}, typed_per_filter_config: {envoy.filters.http.on_demand: {"@type": type.googleapis.com/envoy.extensions.filters.http.on_demand.v3.PerRouteConfig}}, route: {cluster: never}}`,
		`{match: {prefix: /}, route: {cluster_header: x-cluster}}`,
	}, ", ")+"]}]}"))
	s.start()
	s.gets("x", "/usual", 200, one.Name+"\n")
	s.gets("x", "/lazy", 200, one.Name+"\n")
	s.gets("x", "/lazy", 200, one.Name+"\n")
	if n := s.asks("+Cluster lazy"); n != 1 {
		t.Errorf("asked %d times for a cluster", n)
	}
	s.gets("x", "/missing", 404, "")
	wantLog(t, s.weir, "404 NC cluster_not_found /missing")
	s.awaitAsked("-Cluster missing")
	s.gets("x", "/off", 503, "")
	wantLog(t, s.weir, "503 NC cluster_not_found /off")
	if n := s.asks("+Cluster never"); n != 0 {
		t.Error("asked for a cluster although the route says not to")
	}
	cluster("named", false)
	s.gets("x", "/header", 200, one.Name+"\n", "x-cluster", "named")

	wantContains(t, "explain", s.weir.Page("/weir/explain?dst=127.0.0.1:8080&path=/missing"), "a request waits up to 1s while it is fetched on demand", "the answer is 404")

	t.Log("clusters stay until they are removed")
	s.script.Remove(&clusterv3.Cluster{}, "lazy")
	s.awaitAsked("-Cluster lazy")
	s.gets("x", "/lazy", 503, "")
	cluster("lazy", false)
	s.gets("x", "/lazy", 200, one.Name+"\n")

	t.Log("a control plane that does not answer")
	s.script.Silence(true)
	start := time.Now()
	s.gets("x", "/header", 503, "", "x-cluster", "slow")
	if took := time.Since(start); took < 900*time.Millisecond || took > 10*time.Second {
		t.Errorf("the request waited %s", took)
	}
}

// The name of a cluster that a request's header tells outlives the request.
func TestODCDSKeepsNames(t *testing.T) {
	t.Parallel()
	s := newDemanded(t)
	one := s.host.HTTPBackend("one", "127.0.0.1:0")
	names := []string{"alpha", "gamma", "delta"}
	put := func(name string) {
		s.script.Put(name, harness.ScriptItem{Message: harness.Resource(t, &clusterv3.Cluster{}, harness.Cluster(name, harness.To(one.Addr)))})
	}
	s.listener(harness.HTTPFilters([]string{onDemandFilter("source: " + deltaADS + ", timeout: 5s")},
		"route_config: {name: r, validate_clusters: false, virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster_header: x-cluster}}]}]}"))
	s.start()
	for _, name := range names {
		put(name)
		s.gets("x", "/", 200, "one\n", "x-cluster", name)
	}
	s.gets("x", "/", 503, "", "x-cluster", "other") // where the names were
	for _, name := range names {
		s.script.Remove(&clusterv3.Cluster{}, name)
		s.awaitAsked("-Cluster " + name)
		put(name)
		s.gets("x", "/", 200, "one\n", "x-cluster", name)
	}
}

func TestODCDSForTCP(t *testing.T) {
	t.Parallel()
	s := newDemanded(t)
	echo := s.host.TCPBackend("127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	cluster := func(name string) harness.ScriptItem {
		return harness.ScriptItem{Message: harness.Resource(t, &clusterv3.Cluster{}, harness.Cluster(name, harness.To(echo.Addr)))}
	}
	tcp := func(name, cluster string) string {
		return fmt.Sprintf(`{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, `+
			`stat_prefix: %s, cluster: %s, on_demand: {odcds_config: %s, timeout: 1s}}}`, name, cluster, deltaADS)
	}
	for name, addr := range map[string]string{"lazy": "127.0.0.1:8081", "missing": "127.0.0.1:8082"} {
		s.script.Put(name, harness.ScriptItem{Announced: true, Message: harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
			Name: name, Address: addr, Chains: []string{harness.Chain(tcp(name, name))},
		}.YAML())})
	}
	s.script.Put("lazy", cluster("lazy"))
	s.start()
	ask := func(addr string) string {
		conn, err := s.host.Dial(t.Context(), "tcp", addr)
		if errors.Is(err, syscall.ECONNRESET) { // as early as that
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "hello")
		buf := make([]byte, 5)
		n, _ := io.ReadFull(conn, buf)
		return string(buf[:n])
	}
	if got := ask("127.0.0.1:8081"); got != "hello" {
		t.Errorf("got %q", got)
	}
	if got := ask("127.0.0.1:8082"); got != "" {
		t.Errorf("got %q from a cluster that does not exist", got)
	}
	s.weir.AwaitStat("tcp.missing.on_demand_cluster_missing", func(n int) bool { return n == 1 })
	s.script.Silence(true)
	if got := ask("127.0.0.1:8082"); got != "" {
		t.Errorf("got %q from a cluster that does not exist", got)
	}
	s.weir.AwaitStat("tcp.missing.on_demand_cluster_timeout", func(n int) bool { return n == 1 })
	for name, want := range map[string]int{
		"tcp.lazy.on_demand_cluster_attempt": 1, "tcp.lazy.on_demand_cluster_success": 1,
		"tcp.missing.on_demand_cluster_attempt": 2, "tcp.missing.downstream_cx_no_route": 2,
	} {
		if n := s.weir.Stat(name); n != want {
			t.Errorf("%s = %d, want %d", name, n, want)
		}
	}
}

func TestScopeRoutesOnDemand(t *testing.T) {
	t.Parallel()
	s := newDemanded(t)
	s.listener(harness.HTTPFilters([]string{onDemandFilter("")}, byTenant("tenants", "rds_config_source: "+deltaADS, "scoped_rds: {scoped_rds_config_source: "+deltaADS+"}")))
	s.script.Put("a", harness.ScriptItem{Announced: true, Message: harness.Resource(t, &routev3.ScopedRouteConfiguration{},
		scope("a", "alice", "on_demand: true", "route_configuration_name: routes-a"))})
	s.routes("routes-a", answers("routes-a", "for alice"))
	s.start()
	s.gets("x", "/", 404, "", "x-tenant", "bob")
	if n := s.asks("+RouteConfiguration routes-a"); n != 0 {
		t.Error("routes are asked for before a request needs them")
	}
	wantContains(t, "explain", s.weir.Page("/weir/explain?dst=127.0.0.1:8080&header=x-tenant:bob"), `no scope of tenants has the key "bob"`)
	wantContains(t, "explain", s.weir.Page("/weir/explain?dst=127.0.0.1:8080&header=x-tenant:alice"), "the request waits until it is loaded")
	s.gets("x", "/", 200, "for alice", "x-tenant", "alice")
	if n := s.weir.Stat("http.ingress.scoped_rds.tenants.active_scopes"); n != 1 {
		t.Errorf("%d active scopes", n)
	}
}
