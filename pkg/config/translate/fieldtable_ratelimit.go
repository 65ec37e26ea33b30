package translate

func rateLimitTable() table {
	const limit = "envoy.config.route.v3.RateLimit"
	t := table{}
	t.message(limit, "stage disable_key actions limit")
	t.message(limit+".Override", "dynamic_metadata")
	t.message(limit+".Override.DynamicMetadata", "metadata_key")
	t.message(limit+".Action",
		"source_cluster destination_cluster request_headers remote_address generic_key header_value_match dynamic_metadata metadata "+
			"masked_remote_address query_parameter_value_match query_parameters")
	t.message(limit+".Action.SourceCluster", "")
	t.message(limit+".Action.DestinationCluster", "")
	t.message(limit+".Action.RemoteAddress", "")
	t.message(limit+".Action.RequestHeaders", "header_name descriptor_key skip_if_absent")
	t.message(limit+".Action.QueryParameters", "query_parameter_name descriptor_key skip_if_absent")
	t.message(limit+".Action.MaskedRemoteAddress", "v4_prefix_mask_len v6_prefix_mask_len")
	t.message(limit+".Action.GenericKey", "descriptor_value descriptor_key")
	t.message(limit+".Action.HeaderValueMatch", "descriptor_value descriptor_key expect_match headers")
	t.message(limit+".Action.QueryParameterValueMatch", "descriptor_value descriptor_key expect_match query_parameters")
	t.message(limit+".Action.DynamicMetaData", "descriptor_key metadata_key default_value")
	t.message(limit+".Action.MetaData", "descriptor_key metadata_key default_value source skip_if_absent")
	t.message("envoy.type.metadata.v3.MetadataKey", "key path")
	t.message("envoy.type.metadata.v3.MetadataKey.PathSegment", "key")
	t.message("envoy.config.route.v3.VirtualCluster", "headers name")
	t.message("envoy.config.route.v3.ClusterSpecifierPlugin", "extension is_optional")
	return t
}
