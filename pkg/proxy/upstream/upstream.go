// Package upstream holds what the parts of the upstream side share: hosts, what a balancer may look at, and the error of
// an exchange. Its subpackages are cluster (life of clusters), lb (balancers), dns (resolution), pool (connections), outlier (ejection),
// breaker (circuit breakers) and metrics (counters).
//
// It must not know filters, the connection manager or protobuf. Host is shared by all goroutines; its counters are atomics.
package upstream

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
	"github.com/weir-proxy/weir/pkg/proxy/upstream/outlier"
)

// Host is one upstream host of a cluster, as resolved. Its fields never change; counters are behind Stats.
type Host struct {
	// Address is the zero value for a unix socket, which Pipe names.
	Address netip.AddrPort
	Pipe    string
	// Hostname as configured, or the DNS name it was resolved from.
	Hostname string
	Endpoint *model.Endpoint
	Locality *model.Locality
	Weight   uint32
	Priority uint32
	// Health is what the control plane said.
	Health model.HealthStatus
	// Flags is what active health checks and outlier detection said when the Host was made; a change makes another Host.
	Flags HealthFlags
	// Since is when slow start began for the host; nil where there is none, or as long as the host was never healthy.
	Since *time.Time
	// Outlier is told what becomes of requests and connections; nil without outlier detection, which takes results as well.
	Outlier *outlier.Host
	// FailHealthCheck takes the host out until it passes its checks again; nil without active checks.
	FailHealthCheck func()
	// Stats outlive a Host: when only weight, health or metadata of an endpoint change, its next Host has the same Stats.
	Stats *HostStats
	// Conns is what the cluster keeps per host address, its connections. Nobody else looks at it.
	Conns any
}

// Healthy tells whether the host may take traffic of first choice: neither the control plane nor a check says otherwise.
func (h *Host) Healthy() bool {
	return (h.Health == model.HealthUnknown || h.Health == model.HealthHealthy) && h.Flags&(FailedActiveHC|FailedOutlierCheck|DegradedActiveHC) == 0
}

// Degraded tells whether the host may take traffic when there are not enough healthy ones.
func (h *Host) Degraded() bool {
	switch h.Health {
	case model.HealthUnhealthy, model.HealthDraining, model.HealthTimeout:
		return false
	}
	return h.Flags&(FailedActiveHC|FailedOutlierCheck) == 0 && (h.Health == model.HealthDegraded || h.Flags&DegradedActiveHC != 0)
}

// NewHost makes a host at an address, healthy and of weight 1.
func NewHost(addr netip.AddrPort) *Host {
	return &Host{Address: addr, Weight: 1, Stats: new(HostStats)}
}

// HostStats are the counters of a host, under Envoy's names (/clusters).
type HostStats struct {
	// Current is the Host as the balancer knows it now, with what checks said last; nil for hosts that no balancer knows.
	Current atomic.Pointer[Host]

	CxActive, RqActive                                             atomic.Int64
	CxConnectFail, CxTotal, RqError, RqSuccess, RqTimeout, RqTotal atomic.Uint64
}

// Name is the address as printed in logs and /clusters.
func (h *Host) Name() string {
	if h.Pipe != "" {
		return h.Pipe
	}
	return h.Address.String()
}

// PickContext is what a balancer may look at. The zero value is fine.
type PickContext struct {
	// Hash of the request by the route's hash policy, when HasHash. Only consistent balancers (RING_HASH, MAGLEV) look at
	// it, so that nobody need compute it for a cluster whose WantsHash is false. Requests without a hash get a random host.
	Hash    uint64
	HasHash bool
	// OriginalDst for ORIGINAL_DST clusters; may be invalid.
	OriginalDst netip.AddrPort
	// Tried hosts are avoided when AvoidTried (the previous_hosts retry predicate), and so are those that Omit names, which
	// may be nil (other predicates): at most Attempts times, then the last one that was picked is taken.
	Tried      []*Host
	AvoidTried bool
	Omit       func(*Host) bool
	Attempts   int
	// AvoidPriorities has a bit for each priority (1<<Host.Priority, up to 63) that is to be passed over, as the retry
	// priority previous_priorities wants: traffic is shared as if its hosts were not available. When nothing else is
	// available all priorities count again.
	AvoidPriorities uint64
	// MetadataMatch are the envoy.lb keys of the route.
	MetadataMatch map[string]any
	HighPriority  bool
	// Origin is from where the connection is made.
	Origin streaminfo.Origin
	// Picked is a host that was picked before and not used; whoever connects to it takes it off. Nil for none.
	Picked *Host
}

// Kind classifies an Error.
type Kind uint8

// Kinds of upstream errors.
const (
	// KindNoHost: no healthy upstream.
	KindNoHost Kind = iota
	// KindConnect: the connection could not be made (refused, unreachable, TLS failure).
	KindConnect
	// KindConnectTimeout: the connection was not made in time.
	KindConnectTimeout
	// KindTermination: the connection ended during the exchange.
	KindTermination
	// KindRemoteReset: the peer reset the stream.
	KindRemoteReset
	// KindRefusedStream: the peer refused the stream before it did anything.
	KindRefusedStream
	// KindProtocol: the peer violated the protocol.
	KindProtocol
	// KindOverflow: a circuit breaker is open.
	KindOverflow
	// KindTimeout: the exchange took too long.
	KindTimeout
	// KindPerTryTimeout: this attempt took too long.
	KindPerTryTimeout
	// KindAborted: the downstream went away or the process stops.
	KindAborted
	// KindSelf: the connection would go back to weir itself.
	KindSelf
	// KindLocal: the connection could not be begun here, since its source address could not be had.
	KindLocal
	// KindUnknownCluster: there is no such cluster.
	KindUnknownCluster
	// KindMaxDuration: this attempt lasted longer than the cluster allows a stream to.
	KindMaxDuration
)

// Error is why an exchange with an upstream did not succeed. Statistics, logs, retries and replies all follow from it.
type Error struct {
	Kind Kind
	// Transport is the transport failure reason (TLS or the system's words), for
	// %UPSTREAM_TRANSPORT_FAILURE_REASON% and the local reply.
	Transport string
	// BeforeResponse tells that no byte of the response head had arrived.
	BeforeResponse bool
	// Reused tells that it happened on a pooled connection before any response byte: the peer may just have closed it idle.
	Reused bool
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Reason()
	}
	return fmt.Sprintf("%s: %v", e.Reason(), e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// reasons and flags by Kind, in Envoy's words (StreamResetReason) and flags.
var reasons = [...]struct {
	text string
	flag streaminfo.Flags
}{
	KindNoHost:         {"no healthy upstream", streaminfo.NoHealthyUpstream},
	KindConnect:        {"remote connection failure", streaminfo.UpstreamConnectionFailure},
	KindConnectTimeout: {"connection timeout", streaminfo.UpstreamConnectionFailure},
	KindTermination:    {"connection termination", streaminfo.UpstreamConnectionTermination},
	KindRemoteReset:    {"remote reset", streaminfo.UpstreamRemoteReset},
	KindRefusedStream:  {"remote refused stream reset", streaminfo.UpstreamRemoteReset},
	KindProtocol:       {"protocol error", streaminfo.UpstreamProtocolError},
	KindOverflow:       {"overflow", streaminfo.UpstreamOverflow},
	KindTimeout:        {"upstream request timeout", streaminfo.UpstreamRequestTimeout},
	KindPerTryTimeout:  {"upstream request timeout", streaminfo.UpstreamRequestTimeout},
	KindAborted:        {"local reset", streaminfo.LocalReset},
	KindSelf:           {"local connection failure", streaminfo.UpstreamConnectionFailure},
	KindLocal:          {"local connection failure", streaminfo.UpstreamConnectionFailure},
	KindUnknownCluster: {"cluster not found", streaminfo.NoClusterFound},
	KindMaxDuration:    {"upstream max stream duration reached", streaminfo.UpstreamMaxStreamDurationReached},
}

// Reason is Envoy's name of the reset reason, as local replies print it.
func (e *Error) Reason() string { return reasons[e.Kind].text }

// Flag is the response flag that tells of this error.
func (e *Error) Flag() streaminfo.Flags { return reasons[e.Kind].flag }
