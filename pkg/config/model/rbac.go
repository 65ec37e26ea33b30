package model

import (
	"net/netip"
	"time"
)

// RBACAction is envoy.config.rbac.v3.RBAC.Action.
type RBACAction uint8

// Actions of rules.
const (
	// RBACAllow denies what no policy matches.
	RBACAllow RBACAction = iota
	// RBACDeny denies what a policy matches.
	RBACDeny
	// RBACLog allows everything and notes for access logs whether a policy matched.
	RBACLog
)

// RBAC is envoy.config.rbac.v3.RBAC. Without policies nothing matches.
type RBAC struct {
	Action RBACAction
	// Policies are in the order of their names, in which they are tried.
	Policies []RBACPolicy
}

// RBACPolicy is envoy.config.rbac.v3.Policy: it matches when one of Permissions and one of Principals do.
type RBACPolicy struct {
	Name                    string
	Permissions, Principals []RBACRule
}

// RBACKind is what an RBACRule asks.
type RBACKind uint8

// Kinds of rules: those of envoy.config.rbac.v3.Permission and Principal together.
const (
	// RBACAny always matches.
	RBACAny RBACKind = iota
	// RBACAnd matches when all of Rules do, RBACOr when one does, and RBACNot when the only one does not.
	RBACAnd
	RBACOr
	RBACNot
	// RBACDestinationIP wants the destination in Prefix, RBACDestinationPort its port from Start to End, which is not included.
	RBACDestinationIP
	RBACDestinationPort
	// RBACDirectRemoteIP wants the peer of the socket in Prefix, RBACRemoteIP the client as a PROXY protocol header or forwarding
	// headers tell it, and RBACSourceIP the peer as a PROXY protocol header tells it.
	RBACDirectRemoteIP
	RBACRemoteIP
	RBACSourceIP
	// RBACServerName wants String of the name that the client requested by TLS, which is empty when there was none.
	RBACServerName
	// RBACAuthenticated wants TLS and, when String is set, that it accepts a URI or DNS name or the subject of the client's certificate.
	RBACAuthenticated
	RBACMetadata
	RBACFilterState
	// RBACHeader and RBACPath ask about an HTTP request. RBACPath is the path without query; without a request it does not match.
	RBACHeader
	RBACPath
)

// RBACRule is one permission or principal. Which fields count is said at the kinds.
type RBACRule struct {
	Kind        RBACKind
	Rules       []RBACRule
	Prefix      netip.Prefix
	Start, End  uint32
	String      *StringMatcher
	Header      *HeaderMatcher
	Metadata    *MetadataMatcher
	FilterState *FilterStateMatcher
}

// NetworkRBAC is envoy.extensions.filters.network.rbac.v3.RBAC.
type NetworkRBAC struct {
	// StatPrefix and ShadowStatPrefix have no dot at their end.
	StatPrefix, ShadowStatPrefix string
	// Rules are enforced, ShadowRules only counted; nil for none.
	Rules, ShadowRules *RBAC
	// HasMatcher and HasShadowMatcher tell that a matcher tree, which the filter holds, stands in place of the rules.
	HasMatcher, HasShadowMatcher bool
	// Continuous evaluates again whenever the client has sent something, rather than once.
	Continuous bool
	// DelayDeny is how long a connection that is denied stays open; 0 closes it at once.
	DelayDeny time.Duration
}

// ConnectionLimit is envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit.
type ConnectionLimit struct {
	StatPrefix string
	// MaxConnections is at least 1.
	MaxConnections uint64
	// Delay is how long a connection above the limit stays open; 0 closes it at once.
	Delay time.Duration
	// Enabled switches the filter, and the runtime value at EnabledKey does in its place when there is one.
	Enabled    bool
	EnabledKey string
}
