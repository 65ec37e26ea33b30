package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

const (
	hcmType     = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	tcpType     = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	sniffType   = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
	origDstType = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
)

// byDiscovery is a filter of that name whose configuration has a source and may be of these types; more are further fields of
// config_discovery.
func byDiscovery(name, source, types string, more ...string) string {
	fields := append([]string{"config_source: {resource_api_version: V3, " + source + "}", "type_urls: [" + types + "]"}, more...)
	return "{name: " + name + ", config_discovery: {" + strings.Join(fields, ", ") + "}}"
}

// manager is the configuration of a connection manager with these filters before the router, and these fields.
func manager(filters []string, fields ...string) string {
	_, config, _ := strings.Cut(harness.HTTPFilters(filters, fields...), "typed_config: ")
	return strings.TrimSuffix(config, "}")
}

func tcpProxy(cluster string) string {
	return `{"@type": ` + tcpType + `, stat_prefix: tcp, cluster: ` + cluster + `}`
}

// silence is how long a server that should speak first, or close, is listened to. It is well below harness.Patience: a
// connection that began before an update was in force may stay silent for ever, and the next one must have its turn.
const silence = harness.Patience / 10

// greets tells what a server says on a new connection; empty when it closes without a word.
func greets(t *testing.T, host *harness.Host, addr string) (string, error) {
	conn, err := host.Dial(t.Context(), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(silence))
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return "", err
	}
	return string(buf[:n]), nil
}

func eventuallyGreets(t *testing.T, host *harness.Host, addr, want string) {
	t.Helper()
	harness.EventuallyNil(t, "the greeting", func() error {
		if got, err := greets(t, host, addr); err != nil || got != want {
			return fmt.Errorf("%q, %w; want %q", got, err, want)
		}
		return nil
	})
}

func TestNetworkFilterECDS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		own := fmt.Sprintf("api_config_source: {api_type: %s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}", kind)
		for name, source := range map[string]string{"aggregated": "ads: {}", "a stream of its own": own} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				testNetworkECDS(t, kind, source)
			})
		}
	}
}

func testNetworkECDS(t *testing.T, kind, source string) {
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	red, blue := host.TCPBackend("127.0.0.1:0", harness.Greets("red")), host.TCPBackend("127.0.0.1:0", harness.Greets("blue"))
	echo := host.TCPBackend("127.0.0.1:0", harness.Echo)
	listener := func(name, addr string, chains ...string) proto.Message {
		return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: name, Address: addr, Chains: chains}.YAML())
	}
	resources := []proto.Message{
		listener("one", "127.0.0.1:8080", harness.Chain(byDiscovery("net", source, tcpType+", "+hcmType))),
		listener("two", "127.0.0.1:8081", harness.Chain(byDiscovery("late", "initial_fetch_timeout: 0.2s, "+source, tcpType))),
		listener("three", "127.0.0.1:8082", harness.Chain(byDiscovery("fallback", source, tcpType, "default_config: "+tcpProxy("red"), "apply_default_config_without_warming: true"))),
	}
	set := func(configs ...string) {
		t.Helper()
		all := resources
		for i := 0; i < len(configs); i += 2 {
			all = append(all, typedConfig(t, configs[i], configs[i+1]))
		}
		control.Set(all...)
	}
	set("net", tcpProxy("echo"))
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{
			harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2()),
			harness.Cluster("red", harness.To(red.Addr)), harness.Cluster("blue", harness.To(blue.Addr)), harness.Cluster("echo", harness.To(echo.Addr)),
		},
		More: harness.ADS(kind),
	}.YAML()})
	old := host.MustDial("127.0.0.1:8080")
	stays := func(what string) {
		t.Helper()
		_ = old.SetDeadline(time.Now().Add(harness.Patience))
		if _, err := io.WriteString(old, "ping"); err != nil {
			t.Fatalf("%s: the old connection: %v", what, err)
		}
		if _, err := io.ReadFull(old, make([]byte, 4)); err != nil {
			t.Fatalf("%s: the old connection: %v", what, err)
		}
	}
	stays("first")
	t.Log("a filter without configuration closes connections")
	eventuallyGreets(t, host, "127.0.0.1:8081", "")
	weir.AwaitStat("listener.127.0.0.1_8081.network_extension_config_missing", func(n int) bool { return n >= 1 })
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8081"), "its network filter late has no configuration")
	eventuallyGreets(t, host, "127.0.0.1:8082", "red")
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8082"), "default_config", "TCP proxy to", "red")

	t.Log("an update is for new connections; the others stay")
	set("net", tcpProxy("red"), "late", tcpProxy("red"), "fallback", tcpProxy("blue"))
	eventuallyGreets(t, host, "127.0.0.1:8080", "red")
	eventuallyGreets(t, host, "127.0.0.1:8081", "red")
	eventuallyGreets(t, host, "127.0.0.1:8082", "blue")
	stays("after an update")
	if n := weir.Stat("listener_manager.listener_modified"); n != 0 {
		t.Errorf("%d listeners were modified", n)
	}
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8080"), "net (ECDS, xDS version", "TCP proxy to", "red")

	t.Log("a connection manager takes the place of a TCP proxy")
	direct := "route_config: " + answers("r", "by a manager")
	set("net", manager(nil, direct), "late", tcpProxy("red"), "fallback", tcpProxy("blue"))
	httpGets(t, host, "http://127.0.0.1:8080/", "by a manager")
	stays("after a change of the filter")
	wantContains(t, "config_dump", weir.Page("/config_dump"), `"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump"`, `"name": "net"`, `"by a manager"`)
	wantContains(t, "static_route_configs", weir.Page("/config_dump?resource=static_route_configs"), `"by a manager"`)
	const stats = "extension_config_discovery.network_filter.net."
	if n := weir.Stat(stats + "config_reload"); n != 3 {
		t.Errorf("config_reload is %d", n)
	}

	t.Log("another type is refused")
	set("net", manager(nil, direct), "late", manager(nil, direct), "fallback", tcpProxy("blue"))
	if got := control.AwaitRejection("TypedExtensionConfig"); !strings.Contains(got, "filter config has type URL "+hcmType+" but expect "+tcpType) {
		t.Errorf("rejected for %q", got)
	}
	weir.AwaitStat("extension_config_discovery.network_filter.late.config_fail", func(n int) bool { return n >= 1 })
	eventuallyGreets(t, host, "127.0.0.1:8081", "red")
	if kind != "DELTA_GRPC" {
		return // only delta tells of what is gone
	}
	t.Log("removal")
	set("net", tcpProxy("blue"))
	eventuallyGreets(t, host, "127.0.0.1:8080", "blue")
	eventuallyGreets(t, host, "127.0.0.1:8081", "")
	eventuallyGreets(t, host, "127.0.0.1:8082", "red")
	stays("at last")
}

// httpGets waits until a URL answers with a text.
func httpGets(t *testing.T, host *harness.Host, url, text string) {
	t.Helper()
	harness.EventuallyNil(t, "the answer", func() error {
		resp, err := host.Client().Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || string(body) != text {
			return fmt.Errorf("%d %q, %w; want %q", resp.StatusCode, body, err, text)
		}
		return nil
	})
}

// A connection manager by ECDS has its routes by RDS and one of its filters by ECDS: the listener opens when all is there, and a
// manager that waits for its routes does not take the place of the one in force.
func TestNetworkFilterECDSWithRoutes(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			host := harness.NewHost(t)
			control := host.ControlPlane(controlPlaneAddr)
			const ads = "resource_api_version: V3, ads: {}"
			byRDS := func(routes string) string {
				return manager([]string{discovered("sayer", ads)}, "rds: {route_config_name: "+routes+", config_source: {"+ads+", initial_fetch_timeout: 0s}}")
			}
			routes := func(name, text string) proto.Message {
				return harness.Resource(t, &routev3.RouteConfiguration{}, answers(name, text))
			}
			listener := harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
				Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(byDiscovery("net", "initial_fetch_timeout: 0s, ads: {}", hcmType))},
			}.YAML())
			control.Set(listener, typedConfig(t, "net", byRDS("first")))
			weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
				Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
				More:     harness.ADS(kind),
			}.YAML(), NotReady: true})
			control.Await("a stream", func(e controlplane.Event) bool { return e.Kind == controlplane.Connected })
			weir.AwaitStat("extension_config_discovery.network_filter.net.update_success", func(n int) bool { return n >= 1 })
			sotw := kind == "GRPC" // delta tells at once that there are no such routes, and then nothing waits for them
			if n := weir.Stat("listener_manager.total_listeners_warming"); sotw && n != 1 {
				t.Errorf("%d listeners warm", n)
			}
			control.Set(listener, typedConfig(t, "net", byRDS("first")), typedConfig(t, "sayer", says("hello")), routes("first", "one"))
			httpGets(t, host, "http://127.0.0.1:8080/", "one")
			newSayer(host, "127.0.0.1:8080").eventually(t, 200, "hello")

			if sotw {
				t.Log("the next manager has no routes yet")
				control.Set(listener, typedConfig(t, "net", byRDS("second")), typedConfig(t, "sayer", says("hello")), routes("first", "one"))
				weir.AwaitStat("extension_config_discovery.network_filter.net.config_reload", func(n int) bool { return n >= 2 })
				httpGets(t, host, "http://127.0.0.1:8080/", "one")
			}
			control.Set(listener, typedConfig(t, "net", byRDS("second")), typedConfig(t, "sayer", says("hello")), routes("second", "two"))
			httpGets(t, host, "http://127.0.0.1:8080/", "two")

			t.Log("a filter cannot be its own one")
			self := manager([]string{discovered("net", ads)}, "rds: {route_config_name: second, config_source: {"+ads+"}}")
			control.Set(listener, typedConfig(t, "net", self), typedConfig(t, "sayer", says("hello")), routes("second", "two"))
			if got := control.AwaitRejection("TypedExtensionConfig"); !strings.Contains(got, "its filter net: filter config has type URL "+hcmType+" but expect "+mutationType) {
				t.Errorf("rejected for %q", got)
			}
			httpGets(t, host, "http://127.0.0.1:8080/", "two")
		})
	}
}

// Files can hold configurations of network filters and listener filters too.
func TestNetworkFilterECDSFromFile(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	red, blue := host.TCPBackend("127.0.0.1:0", harness.Greets("red")), host.TCPBackend("127.0.0.1:0", harness.Greets("blue"))
	path := filepath.Join(harness.Dir(t), "filters.yaml")
	write := func(cluster string) {
		t.Helper()
		harness.WriteFile(t, path+".new", `resources:
- {"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: net, typed_config: `+tcpProxy(cluster)+`}
- {"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: sniff, typed_config: {"@type": `+origDstType+`}}
`)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("red")
	source := "path_config_source: {path: " + path + "}"
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{
			Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(byDiscovery("net", source, tcpType))},
			More: "listener_filters: [" + byDiscovery("sniff", source, origDstType) + "]",
		}.YAML()},
		Clusters: []string{harness.Cluster("red", harness.To(red.Addr)), harness.Cluster("blue", harness.To(blue.Addr))},
	}.YAML()})
	eventuallyGreets(t, host, "127.0.0.1:8080", "red")
	write("blue")
	eventuallyGreets(t, host, "127.0.0.1:8080", "blue")
}
