package model

import (
	"net/netip"
	"time"
)

// HealthCheck is an active health check of the hosts of a cluster (envoy.config.core.v3.HealthCheck). Exactly one of HTTP,
// TCP and GRPC is set.
type HealthCheck struct {
	Timeout, Interval time.Duration
	// InitialJitter delays the first check at random, IntervalJitter and IntervalJitterPercent (of the interval) lengthen each
	// wait at random.
	InitialJitter, IntervalJitter time.Duration
	IntervalJitterPercent         uint32
	// Thresholds are how many checks in a row change the state of a host.
	UnhealthyThreshold, HealthyThreshold uint32
	// ReuseConnection keeps the connection between checks. Default true.
	ReuseConnection bool
	// NoTrafficInterval and NoTrafficHealthyInterval are for clusters that never had a connection. Default 60 s.
	NoTrafficInterval, NoTrafficHealthyInterval time.Duration
	// The edge intervals are waited once after a change of state.
	UnhealthyInterval, UnhealthyEdgeInterval, HealthyEdgeInterval time.Duration
	// LogFailures and LogSuccess report every check to the event log, not only changes.
	LogFailures, LogSuccess bool
	// EventLog is the path of the event log; "" keeps none.
	EventLog string
	// ALPN replaces what the TLS context of the cluster offers; nil does not.
	ALPN []string
	// SocketMatch chooses among the transport socket matches of the cluster in place of the endpoint's metadata; nil does not.
	SocketMatch map[string]any

	HTTP *HTTPHealthCheck
	TCP  *TCPHealthCheck
	GRPC *GRPCHealthCheck
}

// HTTPHealthCheck asks for a path (envoy.config.core.v3.HealthCheck.HttpHealthCheck).
type HTTPHealthCheck struct {
	// Host is the authority where the endpoint names none; the cluster's name when empty.
	Host, Path, Method string
	// HTTP2 speaks HTTP/2 with prior knowledge.
	HTTP2 bool
	Send  []byte
	// Receive must all be found in this order in the first BufferSize bytes of the body; 0 looks at the entire body.
	Receive    [][]byte
	BufferSize uint64
	Add        []HealthCheckHeader
	Remove     []string
	// Expected statuses are healthy, Retriable ones count towards the threshold; others are unhealthy at once.
	Expected, Retriable []StatusRange
	// ServiceName must match x-envoy-upstream-healthchecked-cluster of the response; nil accepts any.
	ServiceName *StringMatcher
}

// StatusRange is statuses from Start to End, End not included.
type StatusRange struct{ Start, End int }

// HealthCheckHeader is a header of a check. Append adds a value, otherwise it replaces those there are.
type HealthCheckHeader struct {
	Name, Value string
	Append      bool
}

// TCPHealthCheck connects, sends, and looks for Receive in this order (envoy.config.core.v3.HealthCheck.TcpHealthCheck).
// Without either a connection is enough.
type TCPHealthCheck struct {
	Send    []byte
	Receive [][]byte
}

// GRPCHealthCheck calls grpc.health.v1.Health/Check.
type GRPCHealthCheck struct {
	Service string
	// Authority where the endpoint names none; the cluster's name when empty.
	Authority string
	Metadata  []HealthCheckHeader
}

// EndpointHealthCheck says how one endpoint differs (envoy.config.endpoint.v3.Endpoint.HealthCheckConfig).
type EndpointHealthCheck struct {
	// Disabled does not check the endpoint, which counts as healthy.
	Disabled bool
	// Port replaces that of the endpoint unless 0; Address replaces its address when valid.
	Port    uint16
	Address netip.AddrPort
	// Hostname is the authority of HTTP and gRPC checks.
	Hostname string
}
