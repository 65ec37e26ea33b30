package controlplane

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const tlsClusterYAML = `"@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
name: c
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      tls_certificate_sds_secret_configs: [{ name: here, sds_config: { ads: {} } }, { name: gone, sds_config: { self: {} } }]
      validation_context_sds_secret_config: { name: file, sds_config: { path_config_source: { path: /x.yaml } } }
`

const secretYAML = `"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
name: here
generic_secret: { secret: { inline_string: x } }
`

// filtersYAML is a listener with a network filter.
func filtersYAML(filter string) string {
	return `"@type": type.googleapis.com/envoy.config.listener.v3.Listener
name: l
address: { socket_address: { address: 127.0.0.1, port_value: 1000 } }
filter_chains: [{ filters: [{ name: f, ` + filter + ` }] }]
`
}

func TestWarnsOfReferencesThatAreNotServed(t *testing.T) {
	const typed = `typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.network.`
	const hcm = typed + `http_connection_manager.v3.HttpConnectionManager, stat_prefix: x, `
	for name, tt := range map[string]struct {
		files []string
		want  []string
	}{
		"secrets": {[]string{tlsClusterYAML, secretYAML}, []string{`a.yaml:1:1: Cluster "c" refers to Secret gone, which is not served`}},
		"weighted clusters of TCP": {
			[]string{filtersYAML(typed + `tcp_proxy.v3.TcpProxy, stat_prefix: x, weighted_clusters: { clusters: [{ name: a, weight: 1 }, { name: b, weight: 1 }] } }`), clusterYAML("a")},
			[]string{`a.yaml:1:1: Listener "l" refers to Cluster b, which is not served`},
		},
		"cluster of an inline route": {
			[]string{filtersYAML(hcm + `route_config: { virtual_hosts: [{ name: v, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: b } }] }] } }`), clusterYAML("a")},
			[]string{`a.yaml:1:1: Listener "l" refers to Cluster b, which is not served`},
		},
		"routes": {
			[]string{filtersYAML(hcm + `rds: { route_config_name: r, config_source: { ads: {} } } }`)},
			[]string{`a.yaml:1:1: Listener "l" refers to RouteConfiguration r, which is not served`},
		},
		"routes of a file": {[]string{filtersYAML(hcm + `rds: { route_config_name: r, config_source: { path_config_source: { path: /x } } } }`)}, nil},
		"filter": {
			[]string{filtersYAML(`config_discovery: { config_source: { ads: {} }, type_urls: [type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy] }`)},
			[]string{`a.yaml:1:1: Listener "l" refers to TypedExtensionConfig f, which is not served`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, content := range tt.files {
				fill(t, dir, map[string]string{string(rune('a'+i)) + ".yaml": content})
			}
			s := New(Options{})
			if err := s.LoadDir(dir); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range s.LoadState().Warnings {
				got = append(got, strings.TrimPrefix(w, dir+"/"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusesListenersThatClash(t *testing.T) {
	listener := func(name, more string) string {
		return "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\nname: " + name + "\n" + more + "\n"
	}
	const tcp = `address: { socket_address: { address: 127.0.0.1, port_value: 1000 } }`
	for name, tt := range map[string]struct{ more, want string }{
		"same address":       {tcp, `/b.yaml:1:1: serve Listener "two": it has the address TCP 127.0.0.1:1000 of Listener "one", at `},
		"additional address": {strings.Replace(tcp, "1000", "1001", 1) + "\nadditional_addresses: [{ " + tcp + " }]", `the address TCP 127.0.0.1:1000 of Listener "one"`},
		"another port":       {strings.Replace(tcp, "1000", "1001", 1), ""},
		"any port":           {strings.Replace(tcp, "1000", "0", 1), ""},
		"another protocol":   {strings.Replace(tcp, "address: 127", "protocol: UDP, address: 127", 1), ""},
		"without binding":    {tcp + "\nbind_to_port: false", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, map[string]string{"web/a.yaml": listener("one", tcp), "web/b.yaml": listener("two", tt.more), "other/a.yaml": listener("three", tcp)})
			s := New(Options{GroupBy: GroupBy{by: "cluster"}})
			err := s.LoadDir(dir)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
			if st := s.LoadState(); tt.want != "" && cmp.Diff([]string{"web"}, st.Groups) != "" {
				t.Errorf("groups = %v", st.Groups)
			}
		})
	}
}
