package translate

func routeTable() table {
	const route = "envoy.config.route.v3."
	const mutations = "request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove "
	t := table{}
	t.message(route+"RouteConfiguration",
		"name virtual_hosts vhds internal_only_headers "+mutations+"most_specific_header_mutations_wins validate_clusters request_mirror_policies cluster_specifier_plugins "+
			"max_direct_response_body_size_bytes ignore_port_in_host_matching ignore_path_parameters_in_path_matching typed_per_filter_config", "metadata", opaque)
	t.message(route+"Vhds", "config_source")
	t.message(route+"VirtualHost",
		"name domains routes matcher require_tls "+mutations+"typed_per_filter_config include_request_attempt_count "+
			"include_attempt_count_in_response include_is_timeout_retry_header retry_policy hedge_policy request_mirror_policies "+
			"virtual_clusters rate_limits per_request_buffer_limit_bytes request_body_buffer_limit", "metadata", opaque)
	t.message(route+"Route",
		"name match route redirect direct_response metadata "+mutations+"typed_per_filter_config stat_prefix "+
			"per_request_buffer_limit_bytes request_body_buffer_limit",
		"decorator tracing", "weir does not trace yet")
	t.message(route+"FilterConfig", "config is_optional disabled")
	t.message(route+"WeightedCluster", "clusters total_weight header_name runtime_key_prefix use_hash_policy")
	t.message(route+"WeightedCluster.ClusterWeight",
		"name cluster_header weight "+mutations+"typed_per_filter_config host_rewrite_literal", "metadata_match", subsets)
	t.message(route+"RouteAction",
		"cluster cluster_header weighted_clusters cluster_specifier_plugin inline_cluster_specifier_plugin path_rewrite_policy "+
			"rate_limits include_vh_rate_limits cluster_not_found_response_code prefix_rewrite regex_rewrite "+
			"host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout "+
			"idle_timeout retry_policy hedge_policy request_mirror_policies priority max_grpc_timeout grpc_timeout_offset hash_policy "+
			"upgrade_configs max_stream_duration internal_redirect_policy internal_redirect_action max_internal_redirects",
		"metadata_match", subsets,
		"early_data_policy", "weir accepts no early data, so none is sent")
	t.message(route+"RouteAction.MaxStreamDuration", "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset")
	t.message(route+"RouteAction.UpgradeConfig", "upgrade_type enabled connect_config")
	t.message(route+"RouteAction.UpgradeConfig.ConnectConfig", "allow_post")
	t.message(route+"RouteAction.RequestMirrorPolicy", "cluster cluster_header runtime_fraction disable_shadow_host_suffix_append",
		"trace_sampled", "weir does not trace yet")
	t.message(route+"RouteAction.HashPolicy", "header cookie connection_properties query_parameter filter_state terminal")
	t.message(route+"RouteAction.HashPolicy.Header", "header_name regex_rewrite")
	t.message(route+"RouteAction.HashPolicy.Cookie", "name ttl path attributes")
	t.message(route+"RouteAction.HashPolicy.CookieAttribute", "name value")
	t.message(route+"RouteAction.HashPolicy.ConnectionProperties", "source_ip")
	t.message(route+"RouteAction.HashPolicy.QueryParameter", "name")
	t.message(route+"RouteAction.HashPolicy.FilterState", "key")
	t.message(route+"InternalRedirectPolicy",
		"max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect response_headers_to_copy")
	t.message("envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig", "allowed_route_names")
	t.message("envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig", "")
	t.message("envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig", "")
	t.message(route+"RedirectAction",
		"https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code strip_query")
	t.message(route+"DirectResponseAction", "status body body_format")
	t.message(route+"RetryPolicy",
		"retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate host_selection_retry_max_attempts "+
			"retriable_status_codes retry_back_off retriable_headers retriable_request_headers retry_priority rate_limited_retry_back_off")
	t.message(route+"RetryPolicy.RetryBackOff", "base_interval max_interval")
	t.message(route+"RetryPolicy.RetryHostPredicate", "name typed_config")
	t.message(route+"RetryPolicy.RetryPriority", "name typed_config")
	t.message(route+"RetryPolicy.RateLimitedRetryBackOff", "reset_headers max_interval")
	t.message(route+"RetryPolicy.ResetHeader", "name format")
	t.message(route+"HedgePolicy", "hedge_on_per_try_timeout")
	t.message("envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate", "")
	t.message("envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig", "metadata_match")
	t.message("envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", "update_frequency")
	return t
}

func matchTable() table {
	const route, matcher = "envoy.config.route.v3.", "envoy.type.matcher.v3."
	t := table{}
	t.message(route+"RouteMatch",
		"prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers query_parameters grpc "+
			"path_match_policy tls_context dynamic_metadata filter_state cookies")
	t.message(route+"RouteMatch.GrpcRouteMatchOptions", "")
	t.message(route+"RouteMatch.ConnectMatcher", "")
	t.message(route+"HeaderMatcher",
		"name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match "+
			"invert_match treat_missing_header_as_empty")
	t.message(route+"RouteMatch.TlsContextMatchOptions", "presented validated")
	t.message(route+"CookieMatcher", "name string_match invert_match")
	t.message(matcher+"MetadataMatcher", "filter path value invert")
	t.message(matcher+"MetadataMatcher.PathSegment", "key")
	t.message(matcher+"ValueMatcher", "null_match double_match string_match bool_match present_match list_match or_match")
	t.message(matcher+"DoubleMatcher", "range exact")
	t.message("envoy.type.v3.DoubleRange", "start end")
	t.message(matcher+"ListMatcher", "one_of")
	t.message(matcher+"OrMatcher", "value_matchers")
	t.message(matcher+"FilterStateMatcher", "key string_match address_match")
	t.message(matcher+"ValueMatcher.NullMatch", "")
	t.message("xds.core.v3.CidrRange", "address_prefix prefix_len")
	t.message(matcher+"AddressMatcher", "ranges invert_match")
	t.message("envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template")
	t.message("envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig", "path_template_rewrite")
	t.message(route+"QueryParameterMatcher", "name string_match present_match")
	t.message(matcher+"StringMatcher", "exact prefix suffix safe_regex contains ignore_case")
	t.message(matcher+"RegexMatcher", "regex", "google_re2", "every regular expression is RE2")
	t.message(matcher+"RegexMatchAndSubstitute", "pattern substitution")
	return t
}
