package translate

func httpTable() table {
	const hcm = "envoy.extensions.filters.network.http_connection_manager.v3."
	t := table{}
	t.message(hcm+"HttpConnectionManager",
		"codec_type stat_prefix rds route_config scoped_routes http_filters add_user_agent common_http_protocol_options http_protocol_options "+
			"http2_protocol_options server_name server_header_transformation scheme_header_transformation max_request_headers_kb "+
			"stream_idle_timeout request_timeout request_headers_timeout delayed_close_timeout access_log "+
			"use_remote_address xff_num_trusted_hops internal_address_config skip_xff_append via generate_request_id "+
			"preserve_external_request_id always_set_request_id_in_response proxy_100_continue upgrade_configs normalize_path "+
			"merge_slashes path_with_escaped_slashes_action request_id_extension strip_matching_host_port strip_any_host_port "+
			"strip_trailing_host_dot drain_timeout http1_safe_max_connection_duration original_ip_detection_extensions "+
			"early_header_mutation_extensions forward_client_cert_details set_current_client_cert_details local_reply_config "+
			"proxy_status_config append_x_forwarded_port access_log_options access_log_flush_interval "+
			"flush_access_log_on_new_request stream_error_on_invalid_http_message",
		"add_proxy_protocol_connection_state", "only upstream connections with a PROXY protocol header read that state; weir makes none",
		"typed_header_validation_config", codecChoice)
	t.message(hcm+"HttpConnectionManager.InternalAddressConfig", "cidr_ranges unix_sockets")
	t.message(hcm+"HttpConnectionManager.SetCurrentClientCertDetails", "subject cert chain dns uri")
	t.message(hcm+"HttpConnectionManager.HcmAccessLogOptions",
		"access_log_flush_interval flush_access_log_on_new_request flush_log_on_tunnel_successfully_established")
	t.message(hcm+"HttpConnectionManager.ProxyStatusConfig",
		"remove_details remove_connection_termination_details remove_response_flags set_recommended_response_code use_node_id "+
			"literal_proxy_name")
	t.message(hcm+"LocalReplyConfig", "mappers body_format")
	t.message(hcm+"ResponseMapper", "filter status_code body body_format_override headers_to_add")
	t.message("envoy.config.core.v3.SubstitutionFormatString",
		"text_format text_format_source json_format omit_empty_values formatters content_type",
		"json_format_options", "keys are always sorted")
	t.message(hcm+"HttpConnectionManager.UpgradeConfig", "upgrade_type enabled filters")
	t.message(hcm+"HttpFilter", "name typed_config config_discovery is_optional disabled")
	t.message("envoy.config.core.v3.ExtensionConfigSource", "config_source default_config apply_default_config_without_warming type_urls")
	t.message(hcm+"Rds", "config_source route_config_name")
	t.message(hcm+"ScopedRoutes", "name scope_key_builder rds_config_source scoped_route_configurations_list scoped_rds")
	t.message(hcm+"ScopedRoutes.ScopeKeyBuilder", "fragments")
	t.message(hcm+"ScopedRoutes.ScopeKeyBuilder.FragmentBuilder", "header_value_extractor")
	t.message(hcm+"ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor", "name element_separator index element")
	t.message(hcm+"ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement", "separator key")
	t.message(hcm+"ScopedRouteConfigurationsList", "scoped_route_configurations")
	t.message(hcm+"ScopedRds", "scoped_rds_config_source")
	t.message("envoy.config.route.v3.ScopedRouteConfiguration", "on_demand name route_configuration_name route_configuration key")
	t.message("envoy.config.route.v3.ScopedRouteConfiguration.Key", "fragments")
	t.message("envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment", "string_key")
	t.message(hcm+"RequestIDExtension", "typed_config")
	t.message("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", "pack_trace_reason",
		"use_request_id_for_trace_sampling", "weir does not trace yet")
	t.message("envoy.config.core.v3.SchemeHeaderTransformation", "scheme_to_overwrite match_upstream")
	t.message("envoy.config.core.v3.HttpProtocolOptions",
		"idle_timeout max_connection_duration max_headers_count max_stream_duration headers_with_underscores_action max_requests_per_connection "+
			"max_response_headers_kb")
	t.message("envoy.config.core.v3.Http1ProtocolOptions",
		"allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers allow_chunked_length "+
			"override_stream_error_on_invalid_http_message send_fully_qualified_url allow_custom_methods ignore_http_11_upgrade",
		"use_balsa_parser", codecChoice)
	t.message("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat", "proper_case_words stateful_formatter")
	t.message("envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords", "")
	t.message("envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
		"forward_reason_phrase formatter_type_on_envoy_headers")
	t.message("envoy.config.core.v3.Http2ProtocolOptions",
		"hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size allow_connect "+
			"max_outbound_frames max_outbound_control_frames max_consecutive_inbound_frames_with_empty_payload "+
			"max_inbound_priority_frames_per_stream max_inbound_window_update_frames_per_data_frame_sent "+
			"stream_error_on_invalid_http_messaging override_stream_error_on_invalid_http_message custom_settings_parameters "+
			"connection_keepalive",
		"use_oghttp2_codec", codecChoice)
	t.message("envoy.config.core.v3.Http2ProtocolOptions.SettingsParameter", "identifier value")
	t.message("envoy.config.core.v3.KeepaliveSettings", "interval timeout interval_jitter connection_idle_interval")
	return t
}
