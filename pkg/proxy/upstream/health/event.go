package health

// Event is an entry of the event log (envoy.data.core.v3.HealthCheckEvent).
type Event struct {
	Kind EventKind
	// Checker is HTTP, TCP or GRPC.
	Checker string
	// Failure is ACTIVE, PASSIVE, NETWORK or NETWORK_TIMEOUT; of EjectUnhealthy and CheckFailure.
	Failure string
	// First tells that it was the first check of the host; of AddHealthy and CheckFailure.
	First bool
}

// EventKind is what happened.
type EventKind uint8

// Kinds of events.
const (
	EjectUnhealthy EventKind = iota
	AddHealthy
	CheckFailure
	Degraded
	NoLongerDegraded
)

// outcome is the result of one check.
type outcome struct {
	kind     kind
	degraded bool
	reason   string
}

// kind classifies a check.
type kind uint8

const (
	success kind = iota
	// active: the host answered that it is not well.
	active
	// retriable: so it did, and deserves another chance.
	retriable
	// wrongService: another service answered.
	wrongService
	network
	timeout
	// passive: a response of the host said so.
	passive
)

// failure is Envoy's name of what went wrong (HealthCheckFailureType).
func (k kind) failure() string {
	switch k {
	case network, retriable:
		return "NETWORK"
	case timeout:
		return "NETWORK_TIMEOUT"
	case passive:
		return "PASSIVE"
	}
	return "ACTIVE"
}
