package stats

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTagRegex(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, expr, stat, value, rest string }{
		{"plain", `^x\.((.*?)\.)`, "x.a.b", "a", "x.b"},
		{"look-ahead", `^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)`, "listener.0.0.0.0_80.http.1_2.x", "1_2", "listener.0.0.0.0_80.http.x"},
		{"look-ahead that fails", `^listener(?=_)(.*)`, "listener.a", "", ""},
		{"negative", `^cluster\.((?!xds)(\w+)\.)`, "cluster.web.x", "web", "cluster.x"},
		{"negative that fails", `^cluster\.((?!xds)(\w+)\.)`, "cluster.xds.x", "", ""},
		{"at the end", `^cluster\.(\w+)(?=\.up)`, "cluster.web.up", "web", "cluster..up"},
		{"parentheses in classes and escapes", `((?=[)(]\)))?(a)`, "", "", ""},
		{"one in a class", `^(?=[a)]b)((a)b)`, "abc", "a", "c"},
		{"in an alternative that is not taken", `^(?:x(?=y)|z)(b)`, "zb", "b", "z"},
		{"no group", `abc`, "abc", "", ""},
	}
	for _, tt := range tests {
		r, err := compileTag(tt.expr)
		if err != nil {
			if tt.stat != "" {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		value, cut, ok := r.match(tt.stat)
		if ok != (tt.value != "") || value != tt.value {
			t.Errorf("%s: %q, %v, want %q", tt.name, value, ok, tt.value)
		}
		if ok && without(tt.stat, []span{cut}) != tt.rest {
			t.Errorf("%s: rest %q, want %q", tt.name, without(tt.stat, []span{cut}), tt.rest)
		}
	}
}

func TestCheckTagRegex(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]bool{
		`a(b)`: true, `(?=a)(b)`: true, `(`: false, `(?=a`: false, `(a)\1`: false, `(?<=a)(b)`: false, `(?=(a))(b)`: false, `(?=a)*(b)`: false,
		`(?=[)(b)`: false, `(?=(?=a)b)(c)`: false,
	} {
		if err := CheckTagRegex(expr); (err == nil) != want {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func FuzzTagRegex(f *testing.F) {
	for _, s := range []string{`(?=a)(b)`, `[^])(](?!x)`, `\(?=`, `[[:digit:]](?=.)(.)`, `(?`, `[`, `\`, `(?=`} {
		f.Add(s, "cluster.a.b")
	}
	f.Fuzz(func(t *testing.T, expr, name string) {
		r, err := compileTag(expr)
		if err != nil {
			return
		}
		if value, cut, ok := r.match(name); ok && (value == "" || cut.start > cut.end || cut.end > len(name)) {
			t.Fatalf("%s on %q: %q %v", expr, name, value, cut)
		}
	})
}

// TestEachBuiltinRule has a name for every rule that TestExtractBuiltinTags has none for.
func TestEachBuiltinRule(t *testing.T) {
	t.Parallel()
	const hcm, cluster, address = "envoy.http_conn_manager_prefix", "envoy.cluster_name", "envoy.listener_address"
	tests := []struct {
		name, base string
		tags       []Tag
	}{
		{"listener.front.ssl.curves.X25519", "listener.ssl.curves", []Tag{{"envoy.ssl_curve", "X25519"}, {address, "front"}}},
		{"cluster.c.ssl.curves.P-256", "cluster.ssl.curves", []Tag{{"envoy.ssl_curve", "P-256"}, {cluster, "c"}}},
		{"cluster.c.ssl.sigalgs.ecdsa_secp256r1_sha256", "cluster.ssl.sigalgs", []Tag{{"envoy.ssl_sigalg", "ecdsa_secp256r1_sha256"}, {cluster, "c"}}},
		{"cluster.c.ssl.versions.TLSv1.2", "cluster.ssl.versions", []Tag{{"envoy.ssl_version", "TLSv1.2"}, {cluster, "c"}}},
		{"listener.front.ssl.certificate.x.expiration", "listener.ssl.certificate.expiration", []Tag{{"envoy.tls_certificate", "x"}, {address, "front"}}},
		{"auth.clientssl.c.update_success", "auth.clientssl.update_success", []Tag{{"envoy.clientssl_prefix", "c"}}},
		{"ratelimit.r.over_limit", "ratelimit.over_limit", []Tag{{"envoy.ratelimit_prefix", "r"}}},
		{"mongo.m.cmd.isMaster.total", "mongo.cmd.total", []Tag{{"envoy.mongo_cmd", "isMaster"}, {"envoy.mongo_prefix", "m"}}},
		{"thrift.t.request", "thrift.request", []Tag{{"envoy.thrift_prefix", "t"}}},
		{"redis.r.downstream_cx_total", "redis.downstream_cx_total", []Tag{{"envoy.redis_prefix", "r"}}},
		{"listener_local_ratelimit.l.rate_limited", "listener_local_ratelimit.rate_limited", []Tag{{"envoy.local_listener_ratelimit_prefix", "l"}}},
		{"dns_filter.d.known_domain_queries", "dns_filter.known_domain_queries", []Tag{{"envoy.dns_filter_prefix", "d"}}},
		{"grpc.g.streams_total", "grpc.streams_total", []Tag{{"envoy.google_grpc_client_prefix", "g"}}},
		{"http.h.ext_authz.waf.ok", "http.ext_authz.ok", []Tag{{"envoy.ext_authz_prefix", "waf"}, {hcm, "h"}}},
		{"http.h.dynamodb.operation.Get.upstream_rq_total", "http.dynamodb.operation.upstream_rq_total", []Tag{{"envoy.dynamo_operation", "Get"}, {hcm, "h"}}},
		{
			"http.h.dynamodb.error.t.BatchFailure", "http.dynamodb.error.BatchFailure",
			[]Tag{{"envoy.dynamo_table", "t"}, {hcm, "h"}},
		},
		{"thread_local_cluster_manager.worker_1.clusters_inflated", "thread_local_cluster_manager.worker_clusters_inflated", []Tag{{"envoy.worker_id", "1"}}},
		{"cluster.c.upstream_rq_retry_backoff_exponential", "cluster.upstream_rq_retry_backoff_exponential", []Tag{{cluster, "c"}}},
	}
	x := DefaultTagExtractor()
	for _, tt := range tests {
		if diff := cmp.Diff(TaggedName{Base: tt.base, Tags: tt.tags}, x.Extract(tt.name)); diff != "" {
			t.Errorf("Extract(%q): (-want +got)\n%s", tt.name, diff)
		}
	}
}

// TestIstioTags has the kind of expressions that istio's bootstrap has, without the built-in ones.
func TestIstioTags(t *testing.T) {
	t.Parallel()
	x, err := NewTagExtractor(false, []TagRule{
		{Name: "cluster_name", Regex: `^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)`},
		{Name: "tcp_prefix", Regex: `^tcp\.((.*?)\.)\w+?$`},
		{Name: "response_code", Regex: `(response_code=\.=(.+?);\.;)|_rq(_(\.d{3}))$`},
		{Name: "response_code_class", Regex: `_rq(_(\dxx))$`},
		{Name: "http_conn_manager_listener_prefix", Regex: `^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)`},
		{Name: "http_conn_manager_prefix", Regex: `^http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)`},
		{Name: "listener_address", Regex: `^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)`},
		{Name: "mongo_prefix", Regex: `^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$`},
		{Name: "reporter", Regex: `(reporter=\.=(.*?);\.;)`},
		{Name: "source_namespace", Regex: `(source_namespace=\.=(.*?);\.;)`},
		{Name: "request_protocol", Regex: `(request_protocol=\.=(.*?);\.;)`},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, base string
		tags       []Tag
	}{
		{
			"cluster.outbound|80||web.default.svc.cluster.local.upstream_rq_2xx", "cluster.upstream_rq",
			[]Tag{{"response_code_class", "2xx"}, {"cluster_name", "outbound|80||web.default.svc.cluster.local"}},
		},
		{"cluster.xds-grpc.upstream_cx_total", "cluster.upstream_cx_total", []Tag{{"cluster_name", "xds-grpc"}}},
		{
			"listener.0.0.0.0_15006.http.10.0.0.1_80.downstream_rq_2xx", "listener.http.downstream_rq",
			[]Tag{{"response_code_class", "2xx"}, {"http_conn_manager_listener_prefix", "10.0.0.1_80"}, {"listener_address", "0.0.0.0_15006"}},
		},
		{
			"istiocustom.istio_requests_total.reporter=.=source;.;source_namespace=.=default;.;response_code=.=200;.;request_protocol=.=http;.;",
			"istiocustom.istio_requests_total.",
			[]Tag{{"response_code", "200"}, {"reporter", "source"}, {"source_namespace", "default"}, {"request_protocol", "http"}},
		},
	} {
		got := x.Extract(tt.name)
		// The order of tags is that of the rules but for those that can match only one first word, which come last.
		if diff := cmp.Diff(TaggedName{Base: tt.base, Tags: tt.tags}, got); diff != "" {
			t.Errorf("Extract(%q): (-want +got)\n%s", tt.name, diff)
		}
	}
}
