package streaminfo

import "strings"

// Flags is the set of Envoy's response flags of a stream.
type Flags uint32

// Response flags in Envoy's order, which is the order they are printed in.
const (
	FailedLocalHealthCheck Flags = 1 << iota
	NoHealthyUpstream
	UpstreamRequestTimeout
	LocalReset
	UpstreamRemoteReset
	UpstreamConnectionFailure
	UpstreamConnectionTermination
	UpstreamOverflow
	NoRouteFound
	DelayInjected
	FaultInjected
	RateLimited
	UnauthorizedExternalService
	RateLimitServiceError
	DownstreamConnectionTermination
	UpstreamRetryLimitExceeded
	StreamIdleTimeout
	InvalidEnvoyRequestHeaders
	DownstreamProtocolError
	UpstreamMaxStreamDurationReached
	ResponseFromCacheFilter
	NoFilterConfigFound
	DurationTimeout
	UpstreamProtocolError
	NoClusterFound
	OverloadManagerTerminated
	DNSResolutionFailed
	DropOverload
	DownstreamRemoteReset
)

// flagNames is indexed by bit: short and long name.
var flagNames = [...][2]string{
	{"LH", "FailedLocalHealthCheck"},
	{"UH", "NoHealthyUpstream"},
	{"UT", "UpstreamRequestTimeout"},
	{"LR", "LocalReset"},
	{"UR", "UpstreamRemoteReset"},
	{"UF", "UpstreamConnectionFailure"},
	{"UC", "UpstreamConnectionTermination"},
	{"UO", "UpstreamOverflow"},
	{"NR", "NoRouteFound"},
	{"DI", "DelayInjected"},
	{"FI", "FaultInjected"},
	{"RL", "RateLimited"},
	{"UAEX", "UnauthorizedExternalService"},
	{"RLSE", "RateLimitServiceError"},
	{"DC", "DownstreamConnectionTermination"},
	{"URX", "UpstreamRetryLimitExceeded"},
	{"SI", "StreamIdleTimeout"},
	{"IH", "InvalidEnvoyRequestHeaders"},
	{"DPE", "DownstreamProtocolError"},
	{"UMSDR", "UpstreamMaxStreamDurationReached"},
	{"RFCF", "ResponseFromCacheFilter"},
	{"NFCF", "NoFilterConfigFound"},
	{"DT", "DurationTimeout"},
	{"UPE", "UpstreamProtocolError"},
	{"NC", "NoClusterFound"},
	{"OM", "OverloadManagerTerminated"},
	{"DF", "DnsResolutionFailed"},
	{"DO", "DropOverload"},
	{"DR", "DownstreamRemoteReset"},
}

// String is the short names joined by commas, "-" when none is set.
func (f Flags) String() string { return f.join(0) }

// Long is the long names joined by commas, "-" when none is set.
func (f Flags) Long() string { return f.join(1) }

func (f Flags) join(form int) string {
	if f == 0 {
		return "-"
	}
	if f&(f-1) == 0 { // one flag, the usual case: no allocation
		for i := range flagNames {
			if f == 1<<i {
				return flagNames[i][form]
			}
		}
	}
	var names []string
	for i := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, flagNames[i][form])
		}
	}
	return strings.Join(names, ",")
}
