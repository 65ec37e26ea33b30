package upstream

// HealthFlags are the reasons why a host may not be as healthy as the control plane says, under Envoy's names
// (Host::HealthFlag).
type HealthFlags uint16

// Health flags.
const (
	// FailedActiveHC: the host does not pass its active checks, or was not checked yet.
	FailedActiveHC HealthFlags = 1 << iota
	// DegradedActiveHC: the host passes and says that it is degraded.
	DegradedActiveHC
	// PendingDynamicRemoval: the control plane removed the host; it serves until it fails its checks.
	PendingDynamicRemoval
	// PendingActiveHC: the host was not checked yet.
	PendingActiveHC
	// ExcludedViaImmediateHCFail: the host asked in a response to be taken out at once.
	ExcludedViaImmediateHCFail
	// ActiveHCTimeout: the last check failed since it took too long.
	ActiveHCTimeout
	// FailedOutlierCheck: outlier detection has ejected the host.
	FailedOutlierCheck
)
