package intercept

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/kernel/wirepolicy"
)

// policies are those of weir_policies, one for each service that has one. They are guarded by Interceptor.mu.
type policies struct {
	kernel *ebpf.Map
	next   uint32
	// retired are such that no table leads to any more, condemned those of them that no program holds after the grace period
	// that has begun.
	retired, condemned []retiredPolicy
}

type retiredPolicy struct {
	id     uint32
	of     *service
	policy *steer.Policy
}

// PolicyStats are the results of the rules that are counted in one place.
type PolicyStats = wirepolicy.Stats

// policyKey is where the results of an engine are counted.
type policyKey = wirepolicy.Key

func newPolicies(kernel *ebpf.Map) *policies { return &policies{kernel: kernel, next: 1} }

// of gives the id of a policy for a service: that of the one in force when it is the same, 0 for nil. It is in force by retire.
func (p *policies) of(have *service, policy *steer.Policy) (uint32, error) {
	switch {
	case policy == nil:
		return 0, nil
	case policy.NeedsSource:
		return 0, errors.New("the policy asks about the source, which connect() does not know yet")
	case have.spec != nil && have.policy != 0 && policy.Same(have.spec.Policy):
		return have.policy, nil
	}
	w, err := wirepolicy.Of(policy)
	if err != nil {
		return 0, err
	}
	id := p.next
	p.next++
	if err := p.kernel.Update(&id, w, ebpf.UpdateNoExist); err != nil {
		return 0, fmt.Errorf("write policy: %w", full(err, "weir_policies", p.kernel))
	}
	return id, nil
}

// discard takes back an id that no table has led to.
func (p *policies) discard(have *service, id uint32) {
	if id != 0 && id != have.policy {
		_ = p.kernel.Delete(&id) // it is there, and would only take room
	}
}

// retire puts a policy in force for a service, by its id, and lets go of the one before. It is called before the service's spec
// changes.
func (p *policies) retire(have *service, id uint32) {
	if have.policy != 0 && have.policy != id {
		p.retired = append(p.retired, retiredPolicy{have.policy, have, have.spec.Policy})
	}
	have.policy = id
}

// condemn marks what was retired before a grace period begins.
func (p *policies) condemn() {
	p.condemned = append(p.condemned, p.retired...)
	p.retired = nil
}

// drop deletes what was condemned, and keeps its counts. No program holds one any more.
func (p *policies) drop() {
	for _, r := range p.condemned {
		p.add(r.of.policyGone, r.id, r.policy)
		_ = p.kernel.Delete(&r.id) // it is there, and would only take room
	}
	p.condemned = nil
}

// add adds what a policy has counted.
func (p *policies) add(to map[policyKey]PolicyStats, id uint32, policy *steer.Policy) {
	var w wirePolicy
	if err := p.kernel.Lookup(&id, &w); err != nil {
		return // only after Close
	}
	w.AddTo(to, policy)
}

// stats are the results of all policies that a service has had.
func (p *policies) stats(have *service) []PolicyStats {
	if have.policy == 0 && len(have.policyGone) == 0 && len(p.retired)+len(p.condemned) == 0 {
		return nil
	}
	all := maps.Clone(have.policyGone)
	for _, r := range slices.Concat(p.condemned, p.retired) {
		if r.of == have {
			p.add(all, r.id, r.policy)
		}
	}
	if have.policy != 0 {
		p.add(all, have.policy, have.spec.Policy)
	}
	return slices.SortedFunc(maps.Values(all), func(a, b PolicyStats) int {
		return cmp.Or(cmp.Compare(a.Stat, b.Stat), cmp.Compare(fmt.Sprint(a.Shadow), fmt.Sprint(b.Shadow)))
	})
}
