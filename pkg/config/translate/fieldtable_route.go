package translate

func routeTable() table {
	const route = "envoy.config.route.v3."
	const mutations = "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove "
	t := table{}
	t.message(route+"RouteConfiguration",
		"name virtual_hosts internal_only_headers "+mutations+"most_specific_header_mutations_wins validate_clusters "+
			"max_direct_response_body_size_bytes ignore_port_in_host_matching typed_per_filter_config", "metadata", opaque)
	t.message(route+"VirtualHost",
		"name domains routes require_tls "+mutations+"typed_per_filter_config include_request_attempt_count "+
			"include_attempt_count_in_response retry_policy", "metadata", opaque)
	t.message(route+"Route",
		"name match route redirect direct_response metadata "+mutations+"typed_per_filter_config",
		"decorator tracing", "weir does not trace yet")
	t.message(route+"FilterConfig", "config is_optional disabled")
	t.message(route+"WeightedCluster", "clusters total_weight header_name")
	t.message(route+"WeightedCluster.ClusterWeight",
		"name weight "+mutations+"typed_per_filter_config host_rewrite_literal", "metadata_match", subsets)
	t.message(route+"RouteAction",
		"cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite "+
			"host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout "+
			"idle_timeout retry_policy priority max_grpc_timeout grpc_timeout_offset "+
			"upgrade_configs max_stream_duration",
		"metadata_match", subsets,
		"hash_policy", "only read by RING_HASH and MAGLEV, which have a warning of their own",
		"include_vh_rate_limits", "only read by the rate limit filter, which weir does not have yet")
	t.message(route+"RouteAction.MaxStreamDuration", "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset")
	t.message(route+"RouteAction.UpgradeConfig", "upgrade_type enabled")
	t.message(route+"RedirectAction",
		"https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code strip_query")
	t.message(route+"DirectResponseAction", "status body")
	t.message(route+"RetryPolicy",
		"retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate host_selection_retry_max_attempts "+
			"retriable_status_codes retry_back_off retriable_headers retriable_request_headers")
	t.message(route+"RetryPolicy.RetryBackOff", "base_interval max_interval")
	t.message(route+"RetryPolicy.RetryHostPredicate", "name typed_config")
	return t
}

func matchTable() table {
	const route, matcher = "envoy.config.route.v3.", "envoy.type.matcher.v3."
	t := table{}
	t.message(route+"RouteMatch",
		"prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers query_parameters grpc")
	t.message(route+"RouteMatch.GrpcRouteMatchOptions", "")
	t.message(route+"RouteMatch.ConnectMatcher", "")
	t.message(route+"HeaderMatcher",
		"name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match "+
			"invert_match treat_missing_header_as_empty")
	t.message(route+"QueryParameterMatcher", "name string_match present_match")
	t.message(matcher+"StringMatcher", "exact prefix suffix safe_regex contains ignore_case")
	t.message(matcher+"RegexMatcher", "regex", "google_re2", "every regular expression is RE2")
	t.message(matcher+"RegexMatchAndSubstitute", "pattern substitution")
	return t
}
