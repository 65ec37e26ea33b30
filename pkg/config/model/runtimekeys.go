package model

import "strings"

// Runtime keys that weir reads, beside those that a configuration names itself (runtime_key). They are Envoy's.
const (
	// RuntimeRetryBackOff is the base interval of retries in milliseconds. Default 25.
	RuntimeRetryBackOff = "upstream.base_retry_backoff_ms"
	// RuntimeUseRetry is the percentage of retries that are made. Default 100.
	RuntimeUseRetry = "upstream.use_retry"
	// RuntimePanicThreshold is the percentage of healthy hosts below which all hosts are used, in place of what a cluster says.
	RuntimePanicThreshold = "upstream.healthy_panic_threshold"
	// RuntimeMaintenance with the name of a cluster is the percentage of its requests that are answered 503. Default 0.
	RuntimeMaintenance = "upstream.maintenance_mode."
	// RuntimeBreakers with a cluster's name, a priority ("default", "high") and the name of a threshold replaces it.
	RuntimeBreakers = "circuit_breakers."
	// RuntimeDropLimit bounds the percentage of requests that drop_overloads may drop. Default 100.
	RuntimeDropLimit = "load_balancing_policy.drop_overload_limit"
	// RuntimeListenerLimit with a listener's name and ".connection_limit" bounds its connections.
	RuntimeListenerLimit      = "envoy.resource_limits.listener."
	RuntimeListenerLimitAfter = ".connection_limit"
	// RuntimeGlobalLimit bounds the connections of all listeners together.
	RuntimeGlobalLimit = "overload.global_downstream_max_connections"

	// RuntimeHealthMin and RuntimeHealthMax bound the intervals between health checks, in milliseconds.
	RuntimeHealthMin = "health_check.min_interval"
	RuntimeHealthMax = "health_check.max_interval"
	// RuntimeHealthVerify is the percentage of health checks that look at the name of the service. Default 100.
	RuntimeHealthVerify = "health_check.verify_cluster"

	// RuntimeNormalizePath is the percentage of connection managers that normalize paths where normalize_path is not set.
	RuntimeNormalizePath = "http_connection_manager.normalize_path"
	// RuntimeEscapedSlashes is the number of the PathWithEscapedSlashesAction where none is configured.
	RuntimeEscapedSlashes = "http_connection_manager.path_with_escaped_slashes_action"
	// RuntimeEscapedSlashesEnabled is the percentage of requests that the action on escaped slashes is for.
	RuntimeEscapedSlashesEnabled = "http_connection_manager.path_with_escaped_slashes_action_enabled"
	// RuntimeMaxHeadersKB and RuntimeMaxHeaders bound request headers where the configuration does not.
	RuntimeMaxHeadersKB = "envoy.reloadable_features.max_request_headers_size_kb"
	RuntimeMaxHeaders   = "envoy.reloadable_features.max_request_headers_count"

	// RuntimeRejectFragment tells whether requests whose path has a fragment are refused; otherwise it is dropped. Default true.
	RuntimeRejectFragment = "envoy.reloadable_features.http_reject_path_with_fragment"
	// RuntimeExplicitInternal makes no address an internal one where internal_address_config is not set. Default false.
	RuntimeExplicitInternal = "envoy.reloadable_features.explicit_internal_address_config"
)

// RuntimeFamily is a set of kinds of keys that are made of names of resources.
type RuntimeFamily uint8

// Families of runtime keys.
const (
	RuntimeFamilyMaintenance RuntimeFamily = 1 << iota
	RuntimeFamilyBreakers
	RuntimeFamilyListener
)

var families = [...]struct {
	prefix string
	family RuntimeFamily
}{
	{RuntimeMaintenance, RuntimeFamilyMaintenance},
	{RuntimeBreakers, RuntimeFamilyBreakers},
	{RuntimeListenerLimit, RuntimeFamilyListener},
}

// RuntimeGuard tells a key that switches a feature of Envoy itself on or off, or bounds one that weir does not need to bound (the
// regular expressions of Go match in linear time, whatever their size). All of them are accepted.
func RuntimeGuard(key string) bool {
	for _, prefix := range [...]string{
		"envoy.reloadable_features.", "envoy.restart_features.", "envoy.features.", "envoy.deprecated_features", "re2.max_program_size.",
	} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// RuntimeKeyRead tells whether weir itself reads a key. Those that a configuration names are not among them.
func RuntimeKeyRead(key string) bool {
	switch key {
	case RuntimeRetryBackOff, RuntimeUseRetry, RuntimePanicThreshold, RuntimeDropLimit, RuntimeGlobalLimit, RuntimeHealthMin, RuntimeHealthMax, RuntimeHealthVerify, RuntimeNormalizePath, RuntimeEscapedSlashes,
		RuntimeEscapedSlashesEnabled, RuntimeMaxHeadersKB, RuntimeMaxHeaders:
		return true
	}
	return familyOf(key) != 0 || strings.HasPrefix(key, RuntimeOutlier)
}
