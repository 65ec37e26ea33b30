package steer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// OriginalSrcType ends the type URL of the listener filter that has upstreams see the client's address.
const OriginalSrcType = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc"

// ArrivalPolicy is what rbac filters decide about connections that come in for a listener, to any address of the prefix on the port,
// 0 for any. What it denies they would close; what it allows they are asked about again. It is nil when there are no such filters
// or, with the reason, when only user space can decide. i may be nil.
func ArrivalPolicy(i *model.Interception, l *model.Listener, prefix netip.Prefix, port uint16) (*Policy, string) {
	if i != nil {
		switch {
		case i.Offload.Off:
			return nil, "offload.mode is OFF"
		case slices.Contains(i.Offload.ExcludeListeners, l.Name):
			return nil, "offload.exclude_listeners names it"
		}
	}
	if kept := arrivalKept(l); kept != "" {
		return nil, kept
	}
	index, fc, kept := chainOf(l, target{prefix: prefix, port: port})
	if kept != "" {
		return nil, kept
	}
	path := "default_filter_chain"
	if index >= 0 {
		path = fmt.Sprintf("filter_chains[%d]", index)
	}
	rules := rulesInFront(fc)
	switch {
	case len(rules) == 0:
		return nil, ""
	case fc.TLS != nil:
		return nil, path + ".transport_socket: weir terminates TLS, which needs user space"
	}
	if p, ok := fc.Filters[len(fc.Filters)-1].Config.(*model.TCPProxy); ok && len(p.AccessLogs) > 0 {
		return nil, fmt.Sprintf("%s.filters[%d].access_log needs user space", path, len(fc.Filters)-1)
	}
	policy, kept := CompilePolicy(rules)
	if kept != "" {
		return nil, path + ".filters: " + kept
	}
	return policy, ""
}

// HasArrivalRules tells whether some filter chain of a listener begins with an rbac filter.
func HasArrivalRules(l *model.Listener) bool {
	for _, fc := range l.FilterChains {
		if len(rulesInFront(fc)) > 0 {
			return true
		}
	}
	return l.DefaultFilterChain != nil && len(rulesInFront(l.DefaultFilterChain)) > 0
}

// arrivalKept tells what keeps the decision about all connections of a listener in user space; "" when nothing does.
func arrivalKept(l *model.Listener) string {
	if len(l.AccessLogs) > 0 {
		return "access_log needs user space"
	}
	for n, f := range l.ListenerFilters {
		if f.Discovery != nil || !strings.HasSuffix(f.TypeURL, originalDstType) && !strings.HasSuffix(f.TypeURL, OriginalSrcType) {
			return fmt.Sprintf("listener_filters[%d] (%s) needs user space", n, f.Name)
		}
	}
	return ""
}

// rulesInFront are the rbac filters that a chain begins with, and those that only connection limits stand before.
func rulesInFront(fc *model.FilterChain) []*model.NetworkRBAC {
	var rules []*model.NetworkRBAC
	for _, f := range fc.Filters[:max(0, len(fc.Filters)-1)] {
		if f.Discovery != nil {
			break
		}
		if p, ok := f.Config.(policied); ok {
			rules = append(rules, p.Policy())
			continue
		}
		if _, ok := f.Config.(limited); !ok {
			break
		}
	}
	return rules
}
