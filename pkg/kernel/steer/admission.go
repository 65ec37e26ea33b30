package steer

import (
	"fmt"
	"math"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Admission is what the filters in front of a TCP proxy decide about connections.
type Admission struct {
	// Policy of the rbac filters; nil for none.
	Policy *Policy
	// Limit of a connection_limit filter; nil for none.
	Limit *model.ConnectionLimit
}

// ConnectionLimit is how many connections the limit admits; 0 for any number.
func (a *Admission) ConnectionLimit() uint32 {
	if a.Limit == nil {
		return 0
	}
	return uint32(min(a.Limit.MaxConnections, math.MaxInt32))
}

// policied and limited are implemented by the configuration of filters that the kernel can stand in for.
type (
	policied interface{ Policy() *model.NetworkRBAC }
	limited  interface{ Limit() *model.ConnectionLimit }
)

// AdmissionOf compiles the filters in front of the last one of a chain. The string, which begins with "filters", says what only
// user space can decide.
func AdmissionOf(fc *model.FilterChain) (a Admission, kept string) {
	var rules []*model.NetworkRBAC
	for i, f := range fc.Filters[:max(0, len(fc.Filters)-1)] {
		at := fmt.Sprintf("filters[%d]", i)
		if f.Discovery != nil {
			return a, fmt.Sprintf("%s (%s) needs user space: ECDS may change it", at, f.Name)
		}
		switch config := f.Config.(type) {
		case policied:
			rules = append(rules, config.Policy())
		case limited:
			l := config.Limit()
			if kept := limitField(l); kept != "" {
				return a, at + "." + kept
			}
			if a.Limit != nil {
				return a, fmt.Sprintf("%s (%s) needs user space: there is another limit", at, f.Name)
			}
			if l.Enabled {
				a.Limit = l
			}
		default:
			return a, fmt.Sprintf("%s (%s) needs user space", at, f.Name)
		}
	}
	if a.Policy, kept = CompilePolicy(rules); kept != "" {
		return a, "filters: " + kept
	}
	if a.Policy != nil && a.Policy.NeedsSource {
		return a, "filters: rbac rules about the source, which connect() does not know yet, need user space"
	}
	return a, ""
}

// limitField is a field of a limit that the kernel does not carry out.
func limitField(l *model.ConnectionLimit) string {
	switch {
	case l.EnabledKey != "":
		return "runtime_enabled needs user space"
	case l.Enabled && l.Delay > 0:
		return "delay needs user space"
	}
	return ""
}
