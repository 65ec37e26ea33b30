package stats

import "strings"

// builtinRules are Envoy v1.32's default tags: first those with regular expressions, then those
// with tokens, each from the most to the least specific; the order decides that of the labels.
func builtinRules() []*tagRule {
	return append(regexpRules(), tokenRules()...)
}

func regexpRules() []*tagRule {
	table := []struct{ tag, expr, substr, except string }{
		{"envoy.response_code", `_rq(_(\d{3}))$`, "_rq_", ""},
		{"envoy.response_code_class", `_rq_((\d))xx$`, "_rq_", ""},
		{
			"envoy.dynamo_partition_id",
			`^http\.<V>\.dynamodb\.table\.<V>\.capacity\.<V>(\.__partition_id=(\w{7}))$`, ".dynamodb.table.", "",
		},
		{
			"envoy.dynamo_operation",
			`^http\.<V>\.dynamodb\.(?:operation|table\.<V>\.capacity)(\.(<V>))(?:\.|$)`, ".dynamodb.", "",
		},
		{"envoy.dynamo_table", `^http\.<V>\.dynamodb\.(?:table|error)\.((<V>)\.)`, ".dynamodb.", ""},
		{"envoy.ssl_cipher", `^listener\..*?\.ssl\.ciphers(\.([\w-]+))$`, ".ssl.ciphers.", ""},
		{"envoy.ssl_curve", `^(?:listener|cluster)\..*?\.ssl\.curves(\.([\w-]+))$`, ".ssl.curves.", ""},
		{"envoy.ssl_sigalg", `^(?:listener|cluster)\..*?\.ssl\.sigalgs(\.([\w-]+))$`, ".ssl.sigalgs.", ""},
		{"envoy.ssl_version", `^(?:listener|cluster)\..*?\.ssl\.versions(\.(TLSv\d\.\d))$`, ".ssl.versions.", ""},
		{"envoy.tls_certificate", `^(?:listener|cluster)\..*?\.ssl\.certificate\.((<V>)\.)`, ".ssl.certificate.", ""},
		{"cipher_suite", `^cluster\.<V>\.ssl\.ciphers(\.([\w-]+))$`, ".ssl.ciphers.", ""},
		{"envoy.http_conn_manager_prefix", `^listener\..*?\.http\.((<V>)\.)`, ".http.", ""},
		{
			"envoy.worker_id",
			`^(?:listener\.(?:<A>|<V>)|server|listener_manager|thread_local_cluster_manager)\.worker_((\d+)\.)`,
			".worker_", "",
		},
		{"envoy.listener_address", `^listener\.((<A>|<V>)\.)`, "", "admin"},
		// The names of route configurations may hold dots.
		{"envoy.rds_route_config", `^http\.<V>\.rds\.((.+)\.)\w+$`, ".rds.", ""},
		{"envoy.scoped_rds_config", `^http\.<V>\.scoped_rds\.((.+)\.)\w+$`, ".scoped_rds.", ""},
		{"envoy.rbac_policy_name", `^http\.<V>\.rbac\.(?:<V>\.)?policy\.((<V>)\.)<V>$`, ".policy.", ""},
		{"envoy.rbac_http_prefix", `^http\.<V>\.rbac\.((<V>)\.)(?:policy\.<V>\.)?<V>$`, ".rbac.", "policy"},
		{"envoy.proxy_protocol_prefix", `^proxy_proto\.((<V>)\.).+$`, "", "versions"},
		{"envoy.proxy_protocol_version", `^proxy_proto\.(?:<V>\.)?(versions\.v(\d)\.)\w+$`, ".versions.", ""},
	}
	// <V> is a token, <A> an address with its port, the dots of IPv4 included.
	expand := strings.NewReplacer(
		"<V>", `[^.]+`,
		"<A>", `(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[[a-fA-F_\d]+\])_\d+`,
	)
	rules := make([]*tagRule, len(table))
	for i, t := range table {
		rules[i] = &tagRule{tag: t.tag, re: mustTag(expand.Replace(t.expr)), substr: t.substr, except: t.except}
	}
	return rules
}

// mustTag compiles an expression of the table above.
func mustTag(expr string) *tagRegex {
	r, err := compileTag(expr)
	if err != nil {
		panic(err)
	}
	return r
}

func tokenRules() []*tagRule {
	table := []struct{ tag, pattern string }{
		{"envoy.mongo_callsite", "mongo.*.collection.*.callsite.$.query.**"},
		{"envoy.mongo_collection", "mongo.*.collection.$.**.query.*"},
		{"envoy.mongo_cmd", "mongo.*.cmd.$.**"},
		{"envoy.grpc_bridge_method", "cluster.*.grpc.*.$.**"},
		{"envoy.http_user_agent", "http.*.user_agent.$.**"},
		{"envoy.virtual_cluster", "vhost.*.vcluster.$.**"},
		{"envoy.fault_downstream_cluster", "http.*.fault.$.**"},
		{"envoy.grpc_bridge_service", "cluster.*.grpc.$.**"},
		{"envoy.tcp_prefix", "tcp.$.**"},
		{"envoy.udp_prefix", "udp.$.**"},
		{"envoy.clientssl_prefix", "auth.clientssl.$.**"},
		{"envoy.ratelimit_prefix", "ratelimit.$.**"},
		{"envoy.cluster_name", "cluster.$.**"},
		{"envoy.ext_authz_prefix", "cluster.*.ext_authz.$.**"},
		{"envoy.ext_authz_prefix", "http.*.ext_authz.$.**"},
		{"envoy.http_conn_manager_prefix", "http.$.**"},
		{"envoy.virtual_host", "vhost.$.**"},
		{"envoy.mongo_prefix", "mongo.$.**"},
		{"envoy.route", "vhost.*.route.$.**"},
		{"envoy.thrift_prefix", "thrift.$.**"},
		{"envoy.redis_prefix", "redis.$.**"},
		{"envoy.local_http_ratelimit_prefix", "$.http_local_rate_limit.**"},
		{"envoy.local_network_ratelimit_prefix", "local_rate_limit.$.**"},
		{"envoy.local_listener_ratelimit_prefix", "listener_local_ratelimit.$.**"},
		{"envoy.dns_filter_prefix", "dns_filter.$.**"},
		{"envoy.connection_limit_prefix", "connection_limit.$.**"},
		{"envoy.rbac_prefix", "$.rbac.**"},
		{"envoy.google_grpc_client_prefix", "grpc.$.**"},
	}
	rules := make([]*tagRule, len(table))
	for i, t := range table {
		rules[i] = &tagRule{tag: t.tag, tokens: strings.Split(t.pattern, ".")}
	}
	return rules
}
