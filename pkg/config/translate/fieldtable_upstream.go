package translate

func clusterTable() table {
	const cluster = "envoy.config.cluster.v3."
	t := table{}
	t.message(cluster+"Cluster",
		"transport_socket_matches name alt_stat_name type cluster_type eds_cluster_config connect_timeout "+
			"lb_policy load_assignment max_requests_per_connection circuit_breakers "+
			"upstream_http_protocol_options common_http_protocol_options http_protocol_options http2_protocol_options "+
			"typed_extension_protocol_options dns_refresh_rate dns_failure_refresh_rate dns_lookup_family "+
			"cleanup_interval upstream_bind_config least_request_lb_config round_robin_lb_config original_dst_lb_config "+
			"common_lb_config transport_socket metadata protocol_selection upstream_connection_options load_balancing_policy "+
			"ring_hash_lb_config maglev_lb_config preconnect_policy wait_for_warm_on_init track_timeout_budgets track_cluster_stats "+
			"health_checks outlier_detection ignore_health_on_host_removal close_connections_on_host_health_failure "+
			"respect_dns_ttl dns_jitter dns_resolvers use_tcp_for_dns_lookups dns_resolution_config typed_dns_resolver_config",
		"per_connection_buffer_limit_bytes", "weir passes bodies on piece by piece: what it holds of an upstream connection is a read, or the window of a stream")
	t.message(cluster+"Cluster.TransportSocketMatch", "match transport_socket name")
	t.message(cluster+"Cluster.CustomClusterType", "name typed_config")
	t.message(cluster+"Cluster.EdsClusterConfig", "eds_config service_name")
	t.message(cluster+"Cluster.RefreshRate", "base_interval max_interval")
	t.message(cluster+"Cluster.LeastRequestLbConfig", "choice_count active_request_bias slow_start_config")
	t.message(cluster+"Cluster.RingHashLbConfig", "minimum_ring_size hash_function maximum_ring_size")
	t.message(cluster+"Cluster.MaglevLbConfig", "table_size")
	t.message(cluster+"Cluster.RoundRobinLbConfig", "slow_start_config")
	t.message(cluster+"Cluster.SlowStartConfig", "slow_start_window aggression min_weight_percent")
	t.message(cluster+"Cluster.OriginalDstLbConfig", "use_http_header http_header_name upstream_port_override")
	t.message(cluster+"Cluster.CommonLbConfig", "healthy_panic_threshold locality_weighted_lb_config zone_aware_lb_config consistent_hashing_lb_config close_connections_on_host_set_change ignore_new_hosts_until_first_hc", "update_merge_window", "weir applies updates when they arrive")
	t.message(cluster+"Cluster.CommonLbConfig.LocalityWeightedLbConfig", "")
	t.message(cluster+"Cluster.CommonLbConfig.ZoneAwareLbConfig", "fail_traffic_on_panic")
	t.message(cluster+"Cluster.CommonLbConfig.ConsistentHashingLbConfig", "use_hostname_for_hashing hash_balance_factor")
	t.message(cluster+"CircuitBreakers", "thresholds per_host_thresholds")
	t.message(cluster+"Cluster.PreconnectPolicy", "per_upstream_preconnect_ratio predictive_preconnect_ratio")
	t.message(cluster+"CircuitBreakers.Thresholds",
		"priority max_connections max_pending_requests max_requests max_retries track_remaining retry_budget max_connection_pools")
	t.message(cluster+"CircuitBreakers.Thresholds.RetryBudget", "budget_percent min_retry_concurrency")
	t.message(cluster+"OutlierDetection",
		"consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx enforcing_success_rate "+
			"success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure "+
			"enforcing_consecutive_gateway_failure split_external_local_origin_errors consecutive_local_origin_failure "+
			"enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate failure_percentage_threshold "+
			"enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts "+
			"failure_percentage_request_volume max_ejection_time max_ejection_time_jitter "+
			"successful_active_health_check_uneject_host always_eject_one_host")
	t.message(cluster+"UpstreamConnectionOptions", "tcp_keepalive happy_eyeballs_config",
		"set_local_interface_name_on_upstream_connections", "no log operator or extension of weir asks for the name")
	t.message(cluster+"UpstreamConnectionOptions.HappyEyeballsConfig", "first_address_family_version first_address_family_count")
	t.message(cluster+"TrackClusterStats", "timeout_budgets request_response_sizes")
	t.message("envoy.config.core.v3.DnsResolutionConfig", "resolvers dns_resolver_options")
	t.message("envoy.config.core.v3.DnsResolverOptions", "use_tcp_for_dns_lookups no_default_search_domain")
	const cares = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
	t.message(cares, "resolvers dns_resolver_options",
		"udp_max_queries edns0_max_payload_size max_udp_channel_duration reinit_channel_on_timeout qcache_max_ttl rotate_nameservers",
		"tunes c-ares; weir asks with Go's resolver, which opens a socket per query and takes the servers in turn")
	t.message("envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig", "",
		"num_resolver_threads", "weir's lookups need no threads")
	t.message(cluster+"LoadBalancingPolicy", "policies")
	t.message(cluster+"LoadBalancingPolicy.Policy", "typed_extension_config")
	t.message("envoy.extensions.clusters.dns.v3.DnsCluster",
		"dns_refresh_rate dns_failure_refresh_rate dns_lookup_family all_addresses_in_single_endpoint respect_dns_ttl dns_min_refresh_rate dns_jitter typed_dns_resolver_config")
	t.message("envoy.extensions.clusters.dns.v3.DnsCluster.RefreshRate", "base_interval max_interval")
	const lb = "envoy.extensions.load_balancing_policies."
	t.message(lb+"round_robin.v3.RoundRobin", "locality_lb_config slow_start_config")
	t.message(lb+"least_request.v3.LeastRequest", "choice_count active_request_bias locality_lb_config selection_method slow_start_config")
	t.message(lb+"common.v3.SlowStartConfig", "slow_start_window aggression min_weight_percent")
	t.message(lb+"random.v3.Random", "locality_lb_config")
	t.message(lb+"ring_hash.v3.RingHash",
		"hash_function minimum_ring_size maximum_ring_size use_hostname_for_hashing hash_balance_factor "+
			"consistent_hashing_lb_config locality_weighted_lb_config")
	t.message(lb+"maglev.v3.Maglev", "table_size consistent_hashing_lb_config locality_weighted_lb_config")
	t.message(lb+"common.v3.ConsistentHashingLbConfig", "use_hostname_for_hashing hash_balance_factor")
	t.message(lb+"common.v3.LocalityLbConfig", "locality_weighted_lb_config zone_aware_lb_config")
	t.message(lb+"common.v3.LocalityLbConfig.ZoneAwareLbConfig", "fail_traffic_on_panic")
	t.message(lb+"common.v3.LocalityLbConfig.LocalityWeightedLbConfig", "")
	t.message(lb+"cluster_provided.v3.ClusterProvided", "")
	t.message(lb+"wrr_locality.v3.WrrLocality", "endpoint_picking_policy")
	t.message(lb+"client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin", "")
	t.message("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", "")
	return t
}

func healthCheckTable() table {
	const check = "envoy.config.core.v3.HealthCheck"
	t := table{}
	t.message(check,
		"timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold healthy_threshold reuse_connection "+
			"http_health_check tcp_health_check grpc_health_check no_traffic_interval no_traffic_healthy_interval unhealthy_interval "+
			"unhealthy_edge_interval healthy_edge_interval event_log_path event_logger always_log_health_check_failures "+
			"always_log_health_check_success tls_options transport_socket_match_criteria")
	t.message(check+".HttpHealthCheck",
		"host path send receive response_buffer_size request_headers_to_add request_headers_to_remove expected_statuses "+
			"retriable_statuses codec_client_type service_name_matcher method")
	t.message(check+".TcpHealthCheck", "send receive")
	t.message(check+".GrpcHealthCheck", "service_name authority initial_metadata")
	t.message(check+".Payload", "text binary")
	t.message(check+".TlsOptions", "alpn_protocols")
	t.message("envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink", "event_log_path")
	return t
}

func endpointTable() table {
	const endpoint = "envoy.config.endpoint.v3."
	t := table{}
	t.message(endpoint+"ClusterLoadAssignment", "cluster_name endpoints policy")
	t.message(endpoint+"ClusterLoadAssignment.Policy", "drop_overloads overprovisioning_factor endpoint_stale_after")
	t.message(endpoint+"ClusterLoadAssignment.Policy.DropOverload", "category drop_percentage")
	t.message(endpoint+"LocalityLbEndpoints",
		"locality lb_endpoints load_balancer_endpoints leds_cluster_locality_config load_balancing_weight priority", "metadata", opaque)
	t.message(endpoint+"LocalityLbEndpoints.LbEndpointList", "lb_endpoints")
	t.message(endpoint+"LedsClusterLocalityConfig", "leds_config leds_collection_name")
	t.message(endpoint+"LbEndpoint", "endpoint health_status metadata load_balancing_weight")
	t.message(endpoint+"Endpoint", "address hostname additional_addresses health_check_config")
	t.message(endpoint+"Endpoint.HealthCheckConfig", "port_value hostname address disable_active_health_check")
	t.message(endpoint+"Endpoint.AdditionalAddress", "address")
	return t
}

func upstreamTable() table {
	const http = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	t := table{}
	t.message(http,
		"common_http_protocol_options upstream_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config "+
			"http_filters",
		"header_validation_config", codecChoice)
	t.message(http+".ExplicitHttpConfig", "http_protocol_options http2_protocol_options")
	t.message(http+".UseDownstreamHttpConfig", "http_protocol_options http2_protocol_options")
	t.message(http+".AutoHttpConfig", "http_protocol_options http2_protocol_options")
	t.message("envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions", "idle_timeout")
	t.message("envoy.config.core.v3.UpstreamHttpProtocolOptions", "auto_sni auto_san_validation override_auto_sni_header")
	return t
}

func tlsTable() table {
	const tls = "envoy.extensions.transport_sockets.tls.v3."
	t := table{}
	t.message("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", "")
	t.message(tls+"DownstreamTlsContext",
		"common_tls_context require_client_certificate disable_stateless_session_resumption",
		"disable_stateful_session_resumption", "weir keeps no session state on the server's side",
		"prefer_client_ciphers", "Go decides the order of cipher suites")
	t.message(tls+"UpstreamTlsContext",
		"common_tls_context sni allow_renegotiation auto_host_sni auto_sni_san_validation max_session_keys")
	t.message(tls+"CommonTlsContext",
		"tls_params tls_certificates tls_certificate_sds_secret_configs validation_context validation_context_sds_secret_config "+
			"combined_validation_context alpn_protocols")
	t.message(tls+"CommonTlsContext.CombinedCertificateValidationContext", "default_validation_context validation_context_sds_secret_config")
	t.message(tls+"TlsParameters", "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves")
	t.message(tls+"TlsCertificate", "certificate_chain private_key ocsp_staple",
		"watched_directory", "the files of a secret are watched themselves; elsewhere it has a warning of its own")
	t.message(tls+"CertificateValidationContext",
		"trusted_ca system_root_certs verify_certificate_spki verify_certificate_hash match_typed_subject_alt_names "+
			"match_subject_alt_names allow_expired_certificate trust_chain_verification",
		"watched_directory", "the files of a secret are watched themselves; elsewhere it has a warning of its own")
	t.message(tls+"CertificateValidationContext.SystemRootCerts", "")
	t.message(tls+"SubjectAltNameMatcher", "san_type matcher")
	t.message(tls+"SdsSecretConfig", "name sds_config")
	t.message(tls+"Secret", "name tls_certificate validation_context", "generic_secret", opaque)
	return t
}

func coreTable() table {
	const core = "envoy.config.core.v3."
	t := table{}
	t.message(core+"Address", "socket_address pipe")
	t.message(core+"SocketAddress", "protocol address port_value ipv4_compat")
	t.message(core+"Pipe", "path mode")
	t.message(core+"CidrRange", "address_prefix prefix_len")
	t.message(core+"BindConfig", "source_address extra_source_addresses")
	t.message(core+"ExtraSourceAddress", "address")
	t.message(core+"TcpKeepalive", "keepalive_probes keepalive_time keepalive_interval")
	t.message(core+"TransportSocket", "name typed_config")
	t.message(core+"TypedExtensionConfig", "name typed_config")
	t.message(core+"Metadata", "filter_metadata", "typed_filter_metadata", opaque)
	t.message(core+"DataSource", "filename inline_bytes inline_string environment_variable")
	t.message(core+"HeaderValueOption", "header append append_action keep_empty_value")
	t.message(core+"HeaderValue", "key value raw_value")
	t.message(core+"RuntimeFractionalPercent", "default_value runtime_key")
	t.message(core+"RuntimeDouble", "default_value runtime_key")
	t.message(core+"Locality", "region zone sub_zone")
	t.message(core+"ConfigSource", "path path_config_source api_config_source ads self initial_fetch_timeout resource_api_version authorities")
	t.message("xds.core.v3.Authority", "name")
	t.message(core+"SelfConfigSource", "", "transport_api_version", "weir speaks v3 only")
	t.message(core+"AggregatedConfigSource", "")
	t.message(core+"PathConfigSource", "path watched_directory")
	t.message(core+"WatchedDirectory", "path")
	t.message(core+"ApiConfigSource",
		"api_type transport_api_version cluster_names grpc_services rate_limit_settings set_node_on_first_message_only "+
			"refresh_delay request_timeout")
	t.message(core+"RateLimitSettings", "max_tokens fill_rate")
	t.message(core+"GrpcService", "envoy_grpc google_grpc initial_metadata",
		"timeout", "bounds single calls; weir makes none, its subscriptions are streams")
	t.message(core+"GrpcService.EnvoyGrpc", "cluster_name authority retry_policy max_receive_message_length",
		"skip_envoy_headers", "weir adds no such headers to its own calls")
	t.message(core+"GrpcService.GoogleGrpc",
		"target_uri channel_credentials call_credentials stat_prefix credentials_factory_name channel_args",
		"per_stream_buffer_limit_bytes", "a stream's flow control bounds what it buffers",
		"config", "for credentials factories, of which there is none but the built-in one")
	t.message(core+"GrpcService.GoogleGrpc.ChannelCredentials", "ssl_credentials local_credentials")
	t.message(core+"GrpcService.GoogleGrpc.GoogleLocalCredentials", "")
	t.message(core+"GrpcService.GoogleGrpc.SslCredentials", "root_certs private_key cert_chain")
	t.message(core+"GrpcService.GoogleGrpc.CallCredentials", "access_token")
	t.message(core+"GrpcService.GoogleGrpc.ChannelArgs", "args")
	t.message(core+"GrpcService.GoogleGrpc.ChannelArgs.Value", "string_value int_value")
	t.message(core+"RetryPolicy", "retry_back_off")
	t.message(core+"BackoffStrategy", "base_interval max_interval")
	return t
}
