package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

// A listener filter comes by ECDS: with tls_inspector the chain is chosen by server name, with another filter it is not.
func TestListenerFilterECDS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			testListenerECDS(t, kind)
		})
	}
}

func testListenerECDS(t *testing.T, kind string) {
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	named, other := host.TCPBackend("127.0.0.1:0", harness.Greets("named")), host.TCPBackend("127.0.0.1:0", harness.Greets("other"))
	listener := func(name, addr string, filters ...string) proto.Message {
		return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{
			Name: name, Address: addr, More: "listener_filters: [" + strings.Join(filters, ", ") + "]",
			Chains: []string{harness.Chain(harness.TCP("other")), harness.Chain(harness.TCP("named"), "filter_chain_match: {server_names: [a.test]}")},
		}.YAML())
	}
	both := sniffType + ", " + origDstType
	resources := []proto.Message{
		listener("one", "127.0.0.1:8080", byDiscovery("look", "ads: {}", both)),
		listener("two", "127.0.0.1:8081", byDiscovery("late", "initial_fetch_timeout: 0.2s, ads: {}", both)),
		listener("three", "127.0.0.1:8082", byDiscovery("fallback", "initial_fetch_timeout: 0.2s, ads: {}", both, `default_config: {"@type": `+sniffType+`}`)),
	}
	sniff, dst := `{"@type": `+sniffType+`}`, `{"@type": `+origDstType+`}`
	control.Set(append(resources, typedConfig(t, "look", sniff))...)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{
			harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2()),
			harness.Cluster("named", harness.To(named.Addr)), harness.Cluster("other", harness.To(other.Addr)),
		},
		More: harness.ADS(kind),
	}.YAML()})
	eventuallyHello(t, host, "127.0.0.1:8080", "named")
	eventuallyHello(t, host, "127.0.0.1:8082", "named")
	t.Log("a filter without configuration closes connections")
	eventuallyHello(t, host, "127.0.0.1:8081", "")
	weir.AwaitStat("listener.127.0.0.1_8081.extension_config_missing", func(n int) bool { return n >= 1 })
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8081"), "its listener filter late has no configuration")
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8080&tls&sni=a.test"), "look (ECDS, xDS version", "named")

	control.Set(append(resources, typedConfig(t, "look", dst), typedConfig(t, "late", sniff), typedConfig(t, "fallback", dst))...)
	eventuallyHello(t, host, "127.0.0.1:8080", "other")
	eventuallyHello(t, host, "127.0.0.1:8081", "named")
	eventuallyHello(t, host, "127.0.0.1:8082", "other")
	if n := weir.Stat("extension_config_discovery.tcp_listener_filter.look.config_reload"); n != 2 {
		t.Errorf("config_reload is %d", n)
	}
	if n := weir.Stat("listener_manager.listener_modified"); n != 0 {
		t.Errorf("%d listeners were modified", n)
	}
	wantContains(t, "config_dump", weir.Page("/config_dump"), `"ecds_filters"`, `"name": "look"`, origDstType)

	t.Log("another type is refused")
	control.Set(append(resources, typedConfig(t, "look", tcpProxy("other")), typedConfig(t, "late", sniff), typedConfig(t, "fallback", dst))...)
	if got := control.AwaitRejection("TypedExtensionConfig"); !strings.Contains(got, "filter config has type URL "+tcpType+" but expect "+both) {
		t.Errorf("rejected for %q", got)
	}
	eventuallyHello(t, host, "127.0.0.1:8080", "other")
}

// eventuallyHello waits until a connection that says a TLS ClientHello for a.test is answered with want; empty: it is closed.
func eventuallyHello(t *testing.T, host *harness.Host, addr, want string) {
	t.Helper()
	harness.EventuallyNil(t, "the answer to a ClientHello", func() error {
		conn, err := host.Dial(t.Context(), "tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(silence))
		r := &recorded{Conn: conn}
		_ = tls.Client(r, &tls.Config{ServerName: "a.test"}).HandshakeContext(t.Context()) // the answer is no TLS
		if string(r.got) != want {
			return fmt.Errorf("%q, want %q", r.got, want)
		}
		return nil
	})
}

// Upstream filters of clusters and routers come by ECDS.
func TestUpstreamFilterECDS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			testUpstreamECDS(t, kind)
		})
	}
}

func testUpstreamECDS(t *testing.T, kind string) {
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	backend := host.HTTPBackend("backend", "127.0.0.1:0")
	const ads = "ads: {}"
	codec := harness.HTTPFilter("codec", harness.HTTPFilterConfig("upstream_codec.v3.UpstreamCodec"))
	cluster := func(name, filter string) proto.Message {
		return harness.Resource(t, &clusterv3.Cluster{}, harness.Cluster(name, harness.To(backend.Addr),
			harness.UpstreamHTTP("explicit_http_config: {http_protocol_options: {}}, http_filters: ["+filter+", "+codec+"]")))
	}
	router := harness.HTTPFilterConfig("router.v3.Router", "upstream_http_filters: ["+byDiscovery("ofrouter", ads, mutationType)+", "+codec+"]")
	manager := `{name: http, typed_config: {"@type": ` + hcmType + `, stat_prefix: ingress, access_log: [{name: log, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %RESPONSE_FLAGS% %REQ(:PATH)%\n"}}}}], ` +
		`http_filters: [` + byDiscovery("router", ads, "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router") + `], route_config: ` +
		harness.RouteConfig("r", harness.RouteTo("/own", "own"), harness.RouteTo("/late", "late"), harness.RouteTo("/", "plain")) + `}}`
	resources := []proto.Message{
		harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(manager)}}.YAML()),
		cluster("own", byDiscovery("ofcluster", ads, mutationType)),
		cluster("late", byDiscovery("missing", "initial_fetch_timeout: 0.2s, "+ads, mutationType)),
		harness.Resource(t, &clusterv3.Cluster{}, harness.Cluster("plain", harness.To(backend.Addr))),
		typedConfig(t, "router", router),
	}
	control.Set(append(resources, typedConfig(t, "ofcluster", says("own")), typedConfig(t, "ofrouter", says("router")))...)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:     harness.ADS(kind),
	}.YAML()})
	hears := func(path string, status int, text string) {
		t.Helper()
		harness.EventuallyNil(t, "the filter for "+path, func() error {
			resp, err := host.Client().Get("http://127.0.0.1:8080" + path)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if got := resp.Header.Get("says"); resp.StatusCode != status || got != text {
				return fmt.Errorf("%d, says %q, want %d, %q", resp.StatusCode, got, status, text)
			}
			return nil
		})
	}
	hears("/own", 200, "own")
	hears("/", 200, "router")
	hears("/late", 500, "")
	wantLog(t, weir, "500 NFCF /late")

	control.Set(append(resources, typedConfig(t, "ofcluster", says("own 2")), typedConfig(t, "ofrouter", says("router 2")), typedConfig(t, "missing", says("at last")))...)
	hears("/own", 200, "own 2")
	hears("/", 200, "router 2")
	hears("/late", 200, "at last")
	const stats = "extension_config_discovery.upstream_http_filter."
	for _, name := range []string{"ofcluster", "ofrouter"} {
		if n := weir.Stat(stats + name + ".config_reload"); n != 2 {
			t.Errorf("%s: config_reload is %d", name, n)
		}
	}
	wantContains(t, "config_dump", weir.Page("/config_dump"), `"name": "ofcluster"`, `"name": "ofrouter"`)
	wantContains(t, "explain", weir.Page("/weir/explain?dst=127.0.0.1:8080&path=/own"), "router (ECDS, xDS version", "ofcluster (ECDS, xDS version")
	if n := weir.Stat("cluster_manager.cluster_modified"); n != 0 {
		t.Errorf("%d clusters were modified", n)
	}

	t.Log("another type is refused")
	control.Set(append(resources, typedConfig(t, "ofcluster", harness.HTTPFilterConfig("buffer.v3.Buffer", "max_request_bytes: 1")), typedConfig(t, "ofrouter", says("router 2")), typedConfig(t, "missing", says("at last")))...)
	if got := control.AwaitRejection("TypedExtensionConfig"); !strings.Contains(got, "cluster own: filter config has type URL type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer but expect "+mutationType) {
		t.Errorf("rejected for %q", got)
	}
	hears("/own", 200, "own 2")
}

// recorded is a connection that keeps what was read.
type recorded struct {
	net.Conn
	got []byte
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.got = append(r.got, p[:n]...)
	return n, err
}
