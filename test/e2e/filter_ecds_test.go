package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/test/harness"
)

const mutationType = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"

// says is a filter configuration that sets the response header "says".
func says(text string) string {
	return harness.HTTPFilterConfig("header_mutation.v3.HeaderMutation",
		`mutations: {response_mutations: [{append: {header: {key: says, value: "`+text+`"}}}]}`)
}

// discovered is a filter of that name whose configuration has a source; more are further fields of config_discovery.
func discovered(name, source string, more ...string) string {
	fields := append([]string{"config_source: {" + source + "}", "type_urls: [" + mutationType + "]"}, more...)
	return "{name: " + name + ", config_discovery: {" + strings.Join(fields, ", ") + "}}"
}

func typedConfig(t *testing.T, name, config string) proto.Message {
	t.Helper()
	return harness.Resource(t, &corev3.TypedExtensionConfig{}, "{name: "+name+", typed_config: "+config+"}")
}

// sayer asks on one connection and checks the header that a filter sets.
type sayer struct {
	*bufio.Reader
	ask func()
}

func newSayer(host *harness.Host, addr string) *sayer {
	conn := host.MustDial(addr)
	return &sayer{bufio.NewReader(conn), func() { fmt.Fprint(conn, "GET / HTTP/1.1\r\nhost: x\r\n\r\n") }}
}

// hears returns the status and the header of one answer; its body is what it is.
func (s *sayer) hears(t *testing.T) (int, string) {
	t.Helper()
	s.ask()
	resp, err := http.ReadResponse(s.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Discard(int(max(resp.ContentLength, 0))); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("says")
}

func (s *sayer) eventually(t *testing.T, status int, says string) {
	t.Helper()
	harness.EventuallyNil(t, "the filter", func() error {
		if code, got := s.hears(t); code != status || got != says {
			return fmt.Errorf("%d, says %q, want %d, %q", code, got, status, says)
		}
		return nil
	})
}

func TestFilterECDS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		own := fmt.Sprintf("api_config_source: {api_type: %s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}", kind)
		for name, source := range map[string]string{"aggregated": "ads: {}", "a stream of its own": own} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				testECDS(t, kind, "resource_api_version: V3, "+source)
			})
		}
	}
}

func testECDS(t *testing.T, kind, source string) {
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	route := "route_config: " + harness.RouteConfig("r", `{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}`)
	listener := func(name, addr string, filters ...string) proto.Message {
		return harness.Resource(t, &listenerv3.Listener{}, harness.Listener{Name: name, Address: addr, Chains: []string{harness.Chain(harness.HTTPFilters(filters, route))}}.YAML())
	}
	resources := []proto.Message{
		listener("one", "127.0.0.1:8080", discovered("dyn", source)),
		listener("two", "127.0.0.1:8081", discovered("late", source+", initial_fetch_timeout: 0.2s")),
		listener("three", "127.0.0.1:8082", discovered("fallback", source, "default_config: "+says("default"), "apply_default_config_without_warming: true")),
	}
	control.Set(append(resources, typedConfig(t, "dyn", says("first")))...)
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Clusters: []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More:     harness.ADS(kind),
	}.YAML()})
	one, two, three := newSayer(host, "127.0.0.1:8080"), newSayer(host, "127.0.0.1:8081"), newSayer(host, "127.0.0.1:8082")
	one.eventually(t, 200, "first")
	two.eventually(t, 500, "")
	wantLog(t, weir, "500 NFCF - /")
	three.eventually(t, 200, "default")

	t.Log("updates reach connections that are open")
	control.Set(append(resources, typedConfig(t, "dyn", says("second")), typedConfig(t, "late", says("at last")), typedConfig(t, "fallback", says("its own")))...)
	one.eventually(t, 200, "second")
	two.eventually(t, 200, "at last")
	three.eventually(t, 200, "its own")
	const stats = "extension_config_discovery.http_filter."
	if n := weir.Stat(stats + "dyn.config_reload"); n != 2 {
		t.Errorf("config_reload is %d", n)
	}
	if n := weir.Stat("listener_manager.listener_modified"); n != 0 {
		t.Errorf("%d listeners were modified", n)
	}
	wantContains(t, "config_dump", weir.Page("/config_dump"), `"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump"`, `"ecds_filters"`, `"name": "dyn"`, `"second"`)

	t.Log("another type is refused")
	control.Set(append(resources, typedConfig(t, "dyn", harness.HTTPFilterConfig("buffer.v3.Buffer", "max_request_bytes: 1")), typedConfig(t, "late", says("at last")), typedConfig(t, "fallback", says("its own")))...)
	if got := control.AwaitRejection("TypedExtensionConfig"); !strings.Contains(got, "filter config has type URL type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer but expect "+mutationType) {
		t.Errorf("rejected for %q", got)
	}
	weir.AwaitStat(stats+"dyn.config_fail", func(n int) bool { return n >= 1 })
	one.eventually(t, 200, "second")
	if kind != "DELTA_GRPC" {
		return // only delta tells of what is gone
	}
	t.Log("removal")
	control.Set(append(resources, typedConfig(t, "dyn", says("third")))...)
	one.eventually(t, 200, "third")
	two.eventually(t, 500, "")
	three.eventually(t, 200, "default")
}

// Files can hold filter configurations too.
func TestFilterECDSFromFile(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	dir := harness.Dir(t)
	path := filepath.Join(dir, "filter.yaml")
	write := func(text string) {
		t.Helper()
		harness.WriteFile(t, path+".new", `resources: [{"@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: dyn, typed_config: `+says(text)+`}]`)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(
			[]string{discovered("dyn", "resource_api_version: V3, path_config_source: {path: "+path+"}")},
			"route_config: "+harness.RouteConfig("r", `{match: {prefix: /}, direct_response: {status: 200}}`),
		))}}.YAML()},
	}.YAML()})
	one := newSayer(host, "127.0.0.1:8080")
	one.eventually(t, 200, "first")
	write("second")
	one.eventually(t, 200, "second")
}

// A filter that is disabled runs where a route asks for it.
func TestFilterEnabledByRoute(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	config := func(fields string) string {
		return perFilter("hm", `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, `+fields+`}`)
	}
	direct := `direct_response: {status: 200}`
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{harness.Listener{Name: "main", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTPFilters(
			[]string{
				harness.HTTPFilter("hm", says("hello"), "disabled: true"),
				harness.HTTPFilter("nobody", `{"@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}`, "is_optional: true"),
			},
			"route_config: "+harness.RouteConfig("r",
				`{match: {prefix: /on}, `+direct+`, `+config("config: {}")+`}`,
				`{match: {prefix: /off}, `+direct+`, `+config("disabled: true")+`}`,
				`{match: {prefix: /typed}, `+direct+`, `+config(`config: `+harness.HTTPFilterConfig("header_mutation.v3.HeaderMutationPerRoute"))+`}`,
				`{match: {prefix: /}, `+direct+`}`,
			)))}}.YAML()},
	}.YAML()})
	for path, want := range map[string]string{"/on": "hello", "/typed": "hello", "/off": "", "/": ""} {
		wantOK(t, host.App().Curl("-o", "/dev/null", "-w", "%header{says}", "http://127.0.0.1:8080"+path), want)
	}
}
