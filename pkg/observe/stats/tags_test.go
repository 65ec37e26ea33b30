package stats

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExtractBuiltinTags(t *testing.T) {
	t.Parallel()
	const hcm, cluster = "envoy.http_conn_manager_prefix", "envoy.cluster_name"
	tests := []struct {
		name, base string
		tags       []Tag
	}{
		{"server.uptime", "server.uptime", nil},
		{"cluster.web.upstream_cx_total", "cluster.upstream_cx_total", []Tag{{cluster, "web"}}},
		{"cluster.web.upstream_rq_2xx", "cluster.upstream_rq_xx", []Tag{{"envoy.response_code_class", "2"}, {cluster, "web"}}},
		{"cluster.web.upstream_rq_503", "cluster.upstream_rq", []Tag{{"envoy.response_code", "503"}, {cluster, "web"}}},
		{"cluster.web", "cluster.web", nil},
		{"cluster.outbound|80||a_b", "cluster.outbound|80||a_b", nil},
		{
			"cluster.web.zone.a.b.upstream_rq_200", "cluster.zone.a.b.upstream_rq",
			[]Tag{{"envoy.response_code", "200"}, {cluster, "web"}},
		},
		{
			"cluster.g.grpc.svc.method.success", "cluster.grpc.success",
			[]Tag{{"envoy.grpc_bridge_method", "method"}, {"envoy.grpc_bridge_service", "svc"}, {cluster, "g"}},
		},
		{"cluster.g.grpc.0", "cluster.grpc.0", []Tag{{cluster, "g"}}},
		{"cluster.g.ext_authz.waf.ok", "cluster.ext_authz.ok", []Tag{{cluster, "g"}, {"envoy.ext_authz_prefix", "waf"}}},
		{"cluster.g.ext_authz.ok", "cluster.ext_authz.ok", []Tag{{cluster, "g"}}},
		{"cluster.x.ssl.ciphers.AES256-SHA", "cluster.ssl.ciphers", []Tag{{"cipher_suite", "AES256-SHA"}, {cluster, "x"}}},
		{
			"listener.127.0.0.1_3012.ssl.ciphers.AES256-SHA", "listener.ssl.ciphers",
			[]Tag{{"envoy.ssl_cipher", "AES256-SHA"}, {"envoy.listener_address", "127.0.0.1_3012"}},
		},
		{
			"listener.[__1]_443.ssl.versions.TLSv1.3", "listener.ssl.versions",
			[]Tag{{"envoy.ssl_version", "TLSv1.3"}, {"envoy.listener_address", "[__1]_443"}},
		},
		{
			"listener.0.0.0.0_80.http.in.downstream_rq_5xx", "listener.http.downstream_rq_xx",
			[]Tag{{"envoy.response_code_class", "5"}, {hcm, "in"}, {"envoy.listener_address", "0.0.0.0_80"}},
		},
		{
			"listener.0.0.0.0_80.worker_3.downstream_cx_active", "listener.worker_downstream_cx_active",
			[]Tag{{"envoy.worker_id", "3"}, {"envoy.listener_address", "0.0.0.0_80"}},
		},
		{"listener.front.downstream_cx_total", "listener.downstream_cx_total", []Tag{{"envoy.listener_address", "front"}}},
		{"listener.admin.downstream_cx_total", "listener.admin.downstream_cx_total", nil},
		{
			"listener_manager.worker_12.dispatcher.loop_duration_us", "listener_manager.worker_dispatcher.loop_duration_us",
			[]Tag{{"envoy.worker_id", "12"}},
		},
		{"server.worker_0.watchdog_miss", "server.worker_watchdog_miss", []Tag{{"envoy.worker_id", "0"}}},
		{"http.in.downstream_cx_total", "http.downstream_cx_total", []Tag{{hcm, "in"}}},
		{
			"http.in.user_agent.ios.downstream_cx_total", "http.user_agent.downstream_cx_total",
			[]Tag{{"envoy.http_user_agent", "ios"}, {hcm, "in"}},
		},
		{
			"http.in.fault.c.aborts_injected", "http.fault.aborts_injected",
			[]Tag{{"envoy.fault_downstream_cluster", "c"}, {hcm, "in"}},
		},
		{"http.in.fault.aborts_injected", "http.fault.aborts_injected", []Tag{{hcm, "in"}}},
		{
			"http.in.rds.agg/route.1-23.update_success", "http.rds.update_success",
			[]Tag{{"envoy.rds_route_config", "agg/route.1-23"}, {hcm, "in"}},
		},
		{
			"http.in.scoped_rds.a.b.update_success", "http.scoped_rds.update_success",
			[]Tag{{"envoy.scoped_rds_config", "a.b"}, {hcm, "in"}},
		},
		{"http.in.rbac.allowed", "http.rbac.allowed", []Tag{{hcm, "in"}}},
		{"http.in.rbac.p.allowed", "http.rbac.allowed", []Tag{{"envoy.rbac_http_prefix", "p"}, {hcm, "in"}}},
		{"http.in.rbac.policy.x.allowed", "http.rbac.policy.allowed", []Tag{{"envoy.rbac_policy_name", "x"}, {hcm, "in"}}},
		{
			"http.in.rbac.p.policy.x.shadow_denied", "http.rbac.policy.shadow_denied",
			[]Tag{{"envoy.rbac_policy_name", "x"}, {"envoy.rbac_http_prefix", "p"}, {hcm, "in"}},
		},
		{"p.rbac.allowed", "rbac.allowed", []Tag{{"envoy.rbac_prefix", "p"}}},
		{"p.http_local_rate_limit.ok", "http_local_rate_limit.ok", []Tag{{"envoy.local_http_ratelimit_prefix", "p"}}},
		{"tcp.t.downstream_cx_total", "tcp.downstream_cx_total", []Tag{{"envoy.tcp_prefix", "t"}}},
		{"udp.t.downstream_sess_total", "udp.downstream_sess_total", []Tag{{"envoy.udp_prefix", "t"}}},
		{
			"vhost.v.vcluster.c.upstream_rq_2xx", "vhost.vcluster.upstream_rq_xx",
			[]Tag{{"envoy.response_code_class", "2"}, {"envoy.virtual_cluster", "c"}, {"envoy.virtual_host", "v"}},
		},
		{
			"vhost.v.route.r.upstream_rq_200", "vhost.route.upstream_rq",
			[]Tag{{"envoy.response_code", "200"}, {"envoy.virtual_host", "v"}, {"envoy.route", "r"}},
		},
		{
			"mongo.m.collection.c.query.multi_get", "mongo.collection.query.multi_get",
			[]Tag{{"envoy.mongo_collection", "c"}, {"envoy.mongo_prefix", "m"}},
		},
		{
			"mongo.m.collection.c.callsite.s.query.scatter_get", "mongo.collection.callsite.query.scatter_get",
			[]Tag{{"envoy.mongo_callsite", "s"}, {"envoy.mongo_collection", "c"}, {"envoy.mongo_prefix", "m"}},
		},
		{"proxy_proto.not_found_disallowed", "proxy_proto.not_found_disallowed", nil},
		{
			"proxy_proto.p.versions.v2.error", "proxy_proto.error",
			[]Tag{{"envoy.proxy_protocol_prefix", "p"}, {"envoy.proxy_protocol_version", "2"}},
		},
		{"proxy_proto.versions.v1.found", "proxy_proto.found", []Tag{{"envoy.proxy_protocol_version", "1"}}},
		{"local_rate_limit.l.rate_limited", "local_rate_limit.rate_limited", []Tag{{"envoy.local_network_ratelimit_prefix", "l"}}},
		{
			"connection_limit.l.limited_connections", "connection_limit.limited_connections",
			[]Tag{{"envoy.connection_limit_prefix", "l"}},
		},
		{
			"http.d.dynamodb.table.t.capacity.Query.__partition_id=ABC1234", "http.dynamodb.table.capacity",
			[]Tag{
				{"envoy.dynamo_partition_id", "ABC1234"},
				{"envoy.dynamo_operation", "Query"},
				{"envoy.dynamo_table", "t"},
				{hcm, "d"},
			},
		},
		{"", "", nil},
		{"cluster..x", "cluster..x", nil},
	}
	x := DefaultTagExtractor()
	for _, tt := range tests {
		got := x.Extract(tt.name)
		if diff := cmp.Diff(TaggedName{Base: tt.base, Tags: tt.tags}, got); diff != "" {
			t.Errorf("Extract(%q): (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestCustomTags(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		defaults bool
		rules    []TagRule
		stat     string
		want     TaggedName
	}{
		{
			"two groups", true,
			[]TagRule{{Name: "dest", Regex: `(dest=\.=(.*?);\.;)`}},
			"a.dest=.=x;.;b",
			TaggedName{Base: "a.b", Tags: []Tag{{"dest", "x"}}},
		},
		{"one group", false, []TagRule{{Name: "d", Regex: `^x\.(y\.)`}}, "x.y.z", TaggedName{Base: "x.z", Tags: []Tag{{"d", "y."}}}},
		{"no group never matches", false, []TagRule{{Name: "d", Regex: `x`}}, "x.y", TaggedName{Base: "x.y"}},
		{"alternatives at the top", false, []TagRule{{Name: "d", Regex: `^q\.(a)|b\.(c)`}}, "q.a", TaggedName{Base: "q.", Tags: []Tag{{"d", "a"}}}},
		{
			"fixed first", true,
			[]TagRule{{Name: "zone", Fixed: "eu"}},
			"cluster.c.x",
			TaggedName{Base: "cluster.x", Tags: []Tag{{"zone", "eu"}, {"envoy.cluster_name", "c"}}},
		},
		{
			"override", true,
			[]TagRule{{Name: "envoy.cluster_name", Regex: `^cluster\.((.+?(\..+?\.svc)?)\.)`}},
			"cluster.a.ns.svc.up",
			TaggedName{Base: "cluster.up", Tags: []Tag{{"envoy.cluster_name", "a.ns.svc"}}},
		},
		{"no defaults", false, nil, "cluster.c.x", TaggedName{Base: "cluster.c.x"}},
		{
			"one default by name", false,
			[]TagRule{{Name: "envoy.cluster_name"}},
			"cluster.c.upstream_rq_200",
			TaggedName{Base: "cluster.upstream_rq_200", Tags: []Tag{{"envoy.cluster_name", "c"}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x, err := NewTagExtractor(tt.defaults, tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, x.Extract(tt.stat)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCustomTagErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule TagRule
		want string
	}{
		{TagRule{}, "stats_tags[0]: tag_name: must not be empty"},
		{TagRule{Name: "a", Regex: "("}, "stats_tags[0]: regex of tag \"a\": error parsing regexp"},
		{TagRule{Name: "a"}, "stats_tags[0]: tag \"a\": no regex given"},
	} {
		if _, err := NewTagExtractor(true, []TagRule{tt.rule}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %s", tt.rule, err, tt.want)
		}
	}
}

func FuzzExtract(f *testing.F) {
	for _, s := range []string{
		"cluster.a.upstream_rq_2xx", "listener.[__]_1.http.x.y", "http.a.rds.b.c.d", "mongo.a.collection.b.query.c",
		"p.rbac.x", "....", "cluster.a.ssl.ciphers.x", "http.a.rbac.b.policy.c.d",
	} {
		f.Add(s)
	}
	x := DefaultTagExtractor()
	f.Fuzz(func(t *testing.T, name string) {
		got := x.Extract(name)
		if len(got.Base) > len(name) || (len(got.Tags) == 0) != (got.Base == name) {
			t.Fatalf("Extract(%q) = %+v", name, got)
		}
		seen := map[string]bool{}
		for _, tag := range got.Tags {
			if tag.Value == "" || !strings.Contains(name, tag.Value) || seen[tag.Name] {
				t.Fatalf("Extract(%q) = %+v", name, got)
			}
			seen[tag.Name] = true
		}
	})
}

func BenchmarkExtract(b *testing.B) {
	x := DefaultTagExtractor()
	for b.Loop() {
		x.Extract("cluster.outbound|80||reviews_default_svc_cluster_local.upstream_rq_2xx")
	}
}
