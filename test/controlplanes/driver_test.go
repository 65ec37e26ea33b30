package controlplanes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/test/harness"
)

const (
	driverPath   = "github.com/envoyproxy/go-control-plane/pkg/test/main"
	upstreamPath = "github.com/envoyproxy/go-control-plane/internal/upstream"

	// Ports of the driver's own defaults: gRPC, REST, access logs.
	grpcPort, restPort, logPort = 18000, 18001, 18090
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// build makes the programs of the driver's module.
func build(t *testing.T) (driver, upstream string) {
	t.Helper()
	dir := t.TempDir()
	driver, upstream = filepath.Join(dir, "driver"), filepath.Join(dir, "upstream")
	for path, out := range map[string]string{driverPath: driver, upstreamPath: upstream} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, path)
		cmd.Dir = "driver"
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", path, err, text)
		}
	}
	return driver, upstream
}

// mode is one way in which the driver serves.
type mode struct {
	name string
	// kind is the driver's name of the protocol, source the configuration source of every type in it.
	kind, source string
	// ads is the bootstrap's aggregated stream; empty when there is none.
	ads string
	// layers is the number of runtime layers. The driver's ordered ADS answers none but requests for all of them.
	layers int
	flags  []string
}

func modes() []mode {
	api := func(kind, more string) string {
		return fmt.Sprintf(`{resource_api_version: V3, api_config_source: {api_type: %s, transport_api_version: V3, %s}}`, kind, more)
	}
	ads := func(kind string) string {
		return fmt.Sprintf(`{api_type: %s, transport_api_version: V3, set_node_on_first_message_only: true, %s}`, kind, grpcService)
	}
	const aggregated = `{resource_api_version: V3, ads: {}}`
	stream := api("GRPC", "set_node_on_first_message_only: true, "+grpcService)
	return []mode{
		{name: "ads", kind: "ads", source: aggregated, ads: ads("GRPC"), layers: 2, flags: []string{"-runtimes", "2"}},
		{name: "xds", kind: "xds", source: stream, layers: 1},
		{name: "xds with mux", kind: "xds", source: stream, layers: 1, flags: []string{"-mux"}},
		{name: "rest", kind: "rest", source: api("REST", "cluster_names: [xds_cluster], refresh_delay: 0.1s"), layers: 1},
		{name: "delta", kind: "delta", source: api("DELTA_GRPC", "set_node_on_first_message_only: true, "+grpcService), layers: 1},
		{name: "delta-ads", kind: "delta-ads", source: aggregated, ads: ads("DELTA_GRPC"), layers: 1},
	}
}

const grpcService = `grpc_services: [{envoy_grpc: {cluster_name: xds_cluster}}]`

// bootstrap is what the driver's samples say, for this mode.
func (m *mode) bootstrap() string {
	cluster := func(name string, port int, more string) string {
		return fmt.Sprintf(`{name: %s, connect_timeout: 1s, %s load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: `+
			`[{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}}`, name, more, name, port)
	}
	const http2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {` +
		`"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}},`
	server := cluster("xds_cluster", grpcPort, http2)
	if m.kind == "rest" {
		server = cluster("xds_cluster", restPort, "")
	}
	var layers []string
	for i := range m.layers {
		layers = append(layers, fmt.Sprintf(`{name: runtime-%d, rtds_layer: {name: runtime-%d, rtds_config: %s}}`, i, i, m.source))
	}
	dynamic := fmt.Sprintf("cds_config: %s, lds_config: %s", m.source, m.source)
	if m.ads != "" {
		dynamic += ", ads_config: " + m.ads
	}
	return fmt.Sprintf("node: {id: test-id, cluster: test-cluster}\ndynamic_resources: {%s}\nstatic_resources: {clusters: [%s, %s]}\nlayered_runtime: {layers: [%s]}\n",
		dynamic, server, cluster("als_cluster", logPort, http2), strings.Join(layers, ", "))
}

// run runs the driver against weir on a host of its own.
func (m *mode) run(t *testing.T, driver, upstream string, tls bool) {
	host := harness.NewHost(t)
	host.App().Start(upstream, "-message", "Hi")
	args := append([]string{driver, "-xds", m.kind, "-message", "Hi", "-r", "6", "-delay", "300ms"}, m.flags...)
	if tls {
		args = append(args, "-tls")
	}
	control := host.App().Start(args...)
	weir := host.StartWeir(harness.WeirOptions{Config: m.bootstrap(), NotReady: true, Flags: []string{"--drain-time-s", "1"}})
	result := control.Wait()
	t.Log(strings.Join(regexp.MustCompile("request batch.*").FindAllString(result.Err, -1), "\n"))
	if result.Status != 0 {
		t.Errorf("the driver ended with status %d\n%s", result.Status, result.Err)
	}
	for line := range strings.Lines(weir.Page("/stats?filter=update_rejected")) {
		if !strings.HasSuffix(strings.TrimSpace(line), ": 0") {
			t.Errorf("rejected: %s", line)
		}
	}
}

func TestGoControlPlaneDriver(t *testing.T) {
	driver, upstream := build(t)
	for _, m := range modes() {
		for _, tls := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%t", m.name, tls), func(t *testing.T) {
				t.Parallel()
				m.run(t, driver, upstream, tls)
			})
		}
	}
}
