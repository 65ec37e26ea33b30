package inbound

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
	"github.com/weir-proxy/weir/pkg/kernel/wirepolicy"
)

// policies are those that the kernel has. The zero value has none; Inbound.mu guards it.
type policies struct {
	last uint32
	live []livePolicy
	// gone is what those counted that the kernel has no more.
	gone map[wirepolicy.Key]wirepolicy.Stats
}

type livePolicy struct {
	id     uint32
	policy *steer.Policy
}

// of gives the id of a policy, which the kernel has afterwards; 0 for nil.
func (p *policies) of(kernel *ebpf.Map, policy *steer.Policy) (uint32, error) {
	if policy == nil {
		return 0, nil
	}
	for _, l := range p.live {
		if l.policy.Same(policy) {
			return l.id, nil
		}
	}
	w, err := wirepolicy.Of(policy)
	if err != nil {
		return 0, err
	}
	id := p.last + 1
	if err := kernel.Put(&id, w); err != nil {
		return 0, fmt.Errorf("write policy (at most %d fit): %w", kernel.MaxEntries(), err)
	}
	p.last, p.live = id, append(p.live, livePolicy{id, policy})
	return id, nil
}

// keep deletes what no rule of the plan refers to. It is called when no program goes by an earlier plan any more.
func (p *policies) keep(kernel *ebpf.Map, plan *Plan) {
	p.live = slices.DeleteFunc(p.live, func(l livePolicy) bool {
		if slices.ContainsFunc(plan.Rules, func(r Rule) bool { return r.Policy != nil && l.policy.Same(r.Policy) }) {
			return false
		}
		if p.gone == nil {
			p.gone = make(map[wirepolicy.Key]wirepolicy.Stats)
		}
		l.add(kernel, p.gone)
		_ = kernel.Delete(&l.id) // it is there, and would only take room
		return true
	})
}

func (l livePolicy) add(kernel *ebpf.Map, to map[wirepolicy.Key]wirepolicy.Stats) {
	var w wirepolicy.Policy
	if err := kernel.Lookup(&l.id, &w); err == nil {
		w.AddTo(to, l.policy)
	}
}

// PolicyStats are what rbac filters decided in the kernel about the connections that it refused, since the programs were loaded.
func (i *Inbound) PolicyStats() []wirepolicy.Stats {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || len(i.policies.live)+len(i.policies.gone) == 0 {
		return nil
	}
	all := maps.Clone(i.policies.gone)
	if all == nil {
		all = make(map[wirepolicy.Key]wirepolicy.Stats)
	}
	for _, l := range i.policies.live {
		l.add(i.objects.Policies, all)
	}
	return slices.SortedFunc(maps.Values(all), func(a, b wirepolicy.Stats) int {
		return cmp.Or(cmp.Compare(a.Stat, b.Stat), cmp.Compare(strconv.FormatBool(a.Shadow), strconv.FormatBool(b.Shadow)))
	})
}
