package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/agent/options"
)

// What is built into the translator can be disabled as well as what is a package of its own, and a misspelled name is told.
func TestDisabledExtensions(t *testing.T) {
	const config = `
static_resources:
  listeners:
  - name: l
    address: { socket_address: { address: 127.0.0.1, port_value: 1 } }
    filter_chains:
    - filters:
      - name: any
        typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c }
  clusters: [{ name: c }]
`
	_, err := Configure(&options.Options{ConfigYAML: config, DisabledExtensions: []string{"envoy.filters.network/envoy.filters.network.tcp_proxy"}})
	if err == nil || !strings.Contains(err.Error(), "tcp_proxy.v3.TcpProxy for envoy.filters.network is disabled") {
		t.Errorf("error %v", err)
	}
	c, err := Configure(&options.Options{ConfigYAML: config, DisabledExtensions: []string{"envoy.filters.network/tcp_proxy"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(c.Warnings, func(w string) bool {
		return strings.Contains(w, "weir has no extension envoy.filters.network/tcp_proxy")
	}) {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// A runtime key that nothing static reads may be meant for what control planes send, so nobody is warned of it.
func TestIdleRuntimeKeysAreNoWarnings(t *testing.T) {
	c, err := Configure(&options.Options{ConfigYAML: `layered_runtime: {layers: [{name: static, static_layer: {my.canary: 5}}]}`})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
	if !slices.Equal(c.Static.IdleRuntimeKeys, []string{"my.canary"}) {
		t.Errorf("idle keys %q", c.Static.IdleRuntimeKeys)
	}
}
