package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/controlplane"
	"github.com/weir-proxy/weir/test/harness"
)

// byShare is a listener that answers "canary" to the share of requests that the runtime key says, and "stable" to the others; more are routes
// before those.
func byShare(more ...string) string {
	answer := func(more, text string) string {
		return fmt.Sprintf(`{match: {prefix: /%s}, direct_response: {status: 200, body: {inline_string: %s}}}`, more, text)
	}
	routes := append(more, answer(`, runtime_fraction: {default_value: {numerator: 0}, runtime_key: share.canary}`, "canary"), answer("", "stable"))
	return harness.Listener{Name: "web", Address: "127.0.0.1:8080", Chains: []string{harness.Chain(harness.HTTP(routes...))}}.YAML()
}

// answersNow asks once.
func answersNow(t *testing.T, host *harness.Host, path string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plainURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := host.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

// awaitAnswer asks until the answer is as wanted.
func awaitAnswer(t *testing.T, host *harness.Host, want string) {
	t.Helper()
	harness.EventuallyNil(t, "the answer "+want, func() error {
		if _, body, _ := answersNow(t, host, ""); body != want {
			return fmt.Errorf("%q, want %q", body, want)
		}
		return nil
	})
}

func TestRuntimeModify(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	up := host.HTTPBackend("up", "127.0.0.1:0")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{byShare(harness.RouteTo("/up", "up"))}, Clusters: []string{harness.Cluster("up", harness.To(up.Addr))},
		More: `layered_runtime: {layers: [
  {name: base, static_layer: {share: {canary: {numerator: 0, denominator: MILLION}}, envoy.reloadable_features.some_guard: true, nobody.reads: 7}},
  {name: admin, admin_layer: {}}]}`,
	}.YAML()})
	wantContains(t, "log", weir.Log(), "runtime keys that nothing reads so far", "nobody.reads")
	if strings.Contains(weir.Log(), "some_guard") {
		t.Error("a guard was complained about")
	}
	modify := func(query string) {
		t.Helper()
		if status, body := weir.Post("/runtime_modify?" + query); status != 200 || body != "OK\n" {
			t.Fatalf("modify %s: %d %q", query, status, body)
		}
	}
	expect := func(path string, status int, want string) http.Header {
		t.Helper()
		code, body, header := answersNow(t, host, path)
		if code != status || want != "" && body != want {
			t.Errorf("%s: %d %q, want %d %q", path, code, body, status, want)
		}
		return header
	}
	expect("", 200, "stable")
	for _, step := range []struct{ value, want string }{
		{"100", "canary"},
		{"0", "stable"},
		{"4000", "canary"},
		{"%7Bnumerator:%200%7D", "stable"},
		{"%7Bnumerator:%20100000,%20denominator:%20TEN_THOUSAND%7D", "canary"},
		{"text", "stable"},
		{"", "stable"},
	} {
		modify("share.canary=" + step.value)
		expect("", 200, step.want)
	}
	expect("up", 200, "")
	modify("upstream.maintenance_mode.up=100")
	if h := expect("up", 503, "maintenance mode"); h.Get("x-envoy-overloaded") != "true" {
		t.Error("no x-envoy-overloaded")
	}
	modify("upstream.maintenance_mode.up=&circuit_breakers.up.default.max_requests=0")
	expect("up", 503, "")
	modify("circuit_breakers.up.default.max_requests=")
	expect("up", 200, "")
	weir.AwaitStat("cluster.up.upstream_rq_maintenance_mode", func(n int) bool { return n == 1 })
	if status, body := postForm(t, host, "share.canary=100"); status != 200 || body != "OK\n" {
		t.Errorf("modify by a form: %d %q", status, body)
	}
	expect("", 200, "canary")
	modify("share.canary=0")
	fragment := func() string { return rawStatus(t, host, "GET /x#y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n") }
	if got := fragment(); got != "400" {
		t.Errorf("a path with a fragment is answered %s", got)
	}
	modify("envoy.reloadable_features.http_reject_path_with_fragment=false")
	if got := fragment(); got != "200" {
		t.Errorf("a path with a fragment that is to be dropped is answered %s", got)
	}
	modify("envoy.reloadable_features.http_reject_path_with_fragment=&share.canary=100")
	var page struct {
		Layers  []string
		Entries map[string]struct {
			Layers []string `json:"layer_values"`
			Final  string   `json:"final_value"`
		}
	}
	weir.JSON("/runtime", &page)
	if e := page.Entries["share.canary"]; fmt.Sprint(page.Layers) != "[base admin]" || e.Final != "100" || len(e.Layers) != 2 || e.Layers[1] != "100" {
		t.Errorf("/runtime says %+v", page)
	}
	if weir.Stat("runtime.admin_overrides_active") != 1 || weir.Stat("runtime.num_layers") != 2 || weir.Stat("runtime.num_keys") != 3 {
		t.Error("runtime.* is wrong")
	}
}

// postForm sends runtime keys in the body, as browsers do.
func postForm(t *testing.T, host *harness.Host, form string) (int, string) {
	t.Helper()
	resp, err := host.Client().Post("http://127.0.0.1:9901/runtime_modify", "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// rawStatus sends a request as it is and returns the status of the answer.
func rawStatus(t *testing.T, host *harness.Host, request string) string {
	t.Helper()
	c := host.MustDial("127.0.0.1:8080")
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(answer), " ")
	status, _, _ := strings.Cut(rest, " ")
	return status
}

func TestRuntimeDisk(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	dir := harness.Dir(t)
	current := filepath.Join(dir, "current")
	for version, value := range map[string]string{"v1": "0\n", "v2": "# all of them\nnumerator: 1000000\ndenominator: MILLION\n"} {
		path := filepath.Join(dir, version, "envoy", "share")
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, filepath.Join(path, "canary"), value)
	}
	point := func(version string) {
		t.Helper()
		if err := os.Symlink(filepath.Join(dir, version), current+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current+".new", current); err != nil {
			t.Fatal(err)
		}
	}
	point("v1")
	weir := host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{byShare()},
		More:      `layered_runtime: {layers: [{name: disk, disk_layer: {symlink_root: "` + current + `", subdirectory: envoy}}]}`,
	}.YAML()})
	awaitAnswer(t, host, "stable")
	point("v2")
	awaitAnswer(t, host, "canary")
	point("v1")
	awaitAnswer(t, host, "stable")
	if got := weir.Stat("runtime.load_success"); got != 3 {
		t.Errorf("runtime.load_success is %d, want 3", got)
	}
	if status, body := weir.Post("/runtime_modify?a=1"); status != 503 || body != "No admin layer specified" {
		t.Errorf("without an admin layer: %d %q", status, body)
	}
}

func TestRTDSFromFile(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	path := filepath.Join(harness.Dir(t), "rtds.yaml")
	put := func(value string) {
		t.Helper()
		harness.WriteFile(t, path+".new", fmt.Sprintf(`resources: [{"@type": type.googleapis.com/envoy.service.runtime.v3.Runtime, name: layer, layer: {share: {canary: %s}}}]`, value))
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	put("100")
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{byShare()},
		More:      `layered_runtime: {layers: [{name: rtds, rtds_layer: {name: layer, rtds_config: {resource_api_version: V3, path_config_source: {path: "` + path + `"}}}}]}`,
	}.YAML()})
	if _, body, _ := answersNow(t, host, ""); body != "canary" {
		t.Errorf("the first answer is %q: the layer was not waited for", body)
	}
	put("0")
	awaitAnswer(t, host, "stable")
}

// runtimeLayer is a resource of RTDS.
func runtimeLayer(t *testing.T, name, layer string) proto.Message {
	t.Helper()
	return harness.Resource(t, &runtimev3.Runtime{}, fmt.Sprintf("{name: %s, layer: %s}", name, layer))
}

func TestRTDS(t *testing.T) {
	t.Parallel()
	for _, kind := range bothKinds {
		own := fmt.Sprintf("api_config_source: {api_type: %s, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}", kind)
		for name, source := range map[string]string{"aggregated": "ads: {}", "a stream of its own": own} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				testRTDS(t, kind, "{resource_api_version: V3, initial_fetch_timeout: 0s, "+source+"}")
			})
		}
	}
}

func TestRTDSByREST(t *testing.T) {
	t.Parallel()
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	control.Set(runtimeLayer(t, "layer", "{share: {canary: 100}}"))
	host.StartWeir(harness.WeirOptions{Config: harness.Bootstrap{
		Listeners: []string{byShare()},
		Clusters:  []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)))},
		More: "node: {id: e2e, cluster: test}\nlayered_runtime: {layers: [{name: rtds, rtds_layer: {name: layer, rtds_config: {resource_api_version: V3, " +
			"api_config_source: {api_type: REST, transport_api_version: V3, cluster_names: [xds], refresh_delay: 0.05s}}}}]}",
	}.YAML()})
	if _, body, _ := answersNow(t, host, ""); body != "canary" {
		t.Errorf("the first answer is %q: the layer was not waited for", body)
	}
	control.Set(runtimeLayer(t, "layer", "{share: {canary: 0}}"))
	awaitAnswer(t, host, "stable")
}

func testRTDS(t *testing.T, kind, source string) {
	host := harness.NewHost(t)
	control := host.ControlPlane(controlPlaneAddr)
	control.Set(runtimeLayer(t, "other", "{share: {canary: 0}}"))
	weir := host.StartWeir(harness.WeirOptions{NotReady: true, Config: harness.Bootstrap{
		Listeners: []string{byShare()},
		Clusters:  []string{harness.Cluster("xds", harness.To(netip.MustParseAddrPort(controlPlaneAddr)), harness.HTTP2())},
		More: strings.ReplaceAll(strings.ReplaceAll(harness.ADS(kind), "  lds_config: {resource_api_version: V3, ads: {}}\n", ""), "  cds_config: {resource_api_version: V3, ads: {}}\n", "") +
			"layered_runtime: {layers: [{name: base, static_layer: {share: {canary: 0}}}, {name: rtds, rtds_layer: {name: layer, rtds_config: " + source + "}}]}",
	}.YAML()})
	control.Await("a stream", func(e controlplane.Event) bool { return e.Kind == controlplane.Connected })
	if kind == "GRPC" { // a delta server says at once that there is no such resource, which ends the wait
		if status, _ := weir.Get("/ready"); status == 200 {
			t.Error("ready without the layer")
		}
		wantContains(t, "init_dump", weir.Page("/init_dump"), "init manager RTDS", "target RTDS layer")
	}
	control.Set(runtimeLayer(t, "layer", "{share: {canary: {numerator: 100}}}"))
	harness.Eventually(t, "weir to be ready", weir.Ready)
	awaitAnswer(t, host, "canary")
	control.Set(runtimeLayer(t, "layer", "{share: {canary: 0}}"))
	awaitAnswer(t, host, "stable")
	control.Set(runtimeLayer(t, "layer", "{share: {canary: 100}}"))
	awaitAnswer(t, host, "canary")
	control.Set(runtimeLayer(t, "layer", "{share: {canary: [1]}}"))
	weir.AwaitStat("runtime.update_rejected", func(n int) bool { return n == 1 })
	awaitAnswer(t, host, "canary")
	control.Set()
	if kind == "DELTA_GRPC" {
		awaitAnswer(t, host, "stable")
	}
	if n := weir.Stat("runtime.update_success"); n < 3 {
		t.Errorf("runtime.update_success is %d", n)
	}
}
