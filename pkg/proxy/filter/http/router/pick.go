package httprouter

import (
	"reflect"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/upstream"
)

// lbMetadata is where endpoints have what balancers and predicates look at.
const lbMetadata = "envoy.lb"

// passedPriorities are the priorities of the hosts that were tried since retries last had to leave some out.
type passedPriorities struct {
	mask  uint64
	hosts int
}

// choose picks the host of the next attempt. For a retry, hosts that a predicate of the policy omits are passed over as often
// as the policy allows; after that the last one picked is taken.
func (x *exchange) choose() (*upstream.Host, error) {
	p := x.retry.policy
	if p == nil || x.attempts == 0 {
		return x.cluster.Pick(&x.pick)
	}
	if n := p.PriorityUpdateFrequency; n > 0 && x.passed.hosts >= n {
		x.pick.AvoidPriorities |= x.passed.mask
		x.passed = passedPriorities{}
	}
	if p.OmitCanaryHosts || len(p.OmitHostMetadata) > 0 {
		x.pick.Omit = func(h *upstream.Host) bool { return omits(p, h) }
	}
	return x.cluster.Pick(&x.pick)
}

// passedBy notes an attempt for the retry priority.
func (p *passedPriorities) passedBy(h *upstream.Host) {
	p.hosts++
	if h.Priority < 64 {
		p.mask |= 1 << h.Priority
	}
}

// omits tells whether the predicates of a policy keep retries away from a host.
func omits(p *model.RetryPolicy, h *upstream.Host) bool {
	if h.Endpoint == nil {
		return false
	}
	meta := h.Endpoint.Metadata[lbMetadata]
	if p.OmitCanaryHosts && meta["canary"] == true {
		return true
	}
	for _, want := range p.OmitHostMetadata {
		if len(want) > 0 && holds(meta, want) {
			return true
		}
	}
	return false
}

// holds tells whether metadata has all of the wanted values.
func holds(meta, want map[string]any) bool {
	for k, v := range want {
		if got, ok := meta[k]; !ok || !reflect.DeepEqual(got, v) {
			return false
		}
	}
	return true
}
