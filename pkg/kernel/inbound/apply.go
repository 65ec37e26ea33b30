package inbound

import (
	"errors"
	"fmt"
	"syscall"
)

// Apply makes the plan what the kernel goes by. A connection sees either the old rules or the new ones: these are written beside
// the old ones and put in force by one write. When Apply fails, the old plan stays in force, or, where there was none, the fail policy
// for everything. Cgroups are set by SetCgroups.
func (i *Inbound) Apply(plan *Plan) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("apply inbound plan: %w", errClosed)
	}
	if plan == nil {
		plan = &Plan{}
	}
	generation := i.generation
	if generation == 0 || i.lost || !sameRules(i.plan, plan) {
		generation++
		i.forgetStale()
		err := i.room(plan)
		if err == nil {
			if err = i.write(generation, plan); err != nil {
				i.erase(generation, plan)
			}
		}
		if err != nil {
			err = errors.Join(err, i.withoutRules(plan))
			return fmt.Errorf("apply inbound plan: %w", err)
		}
		i.stale = i.plan
	}
	i.number(generation, plan)
	if err := i.objects.Control.Put(uint32(0), control(generation, plan).packed()); err != nil {
		return fmt.Errorf("apply inbound plan: put it in force: %w", err)
	}
	renamed := i.plan.Names != plan.Names
	i.generation, i.plan, i.holding, i.lost = generation, plan, plan, false
	if renamed {
		return i.nameAll()
	}
	return nil
}

// withoutRules has the fail policy of a plan hold for everything, since its rules are not in the kernel and no others are: with CLOSED
// whatever comes in for captured processes is refused. Rules that are in force stay. The caller holds mu.
func (i *Inbound) withoutRules(plan *Plan) error {
	if !i.lost && !i.plan.Empty() {
		return nil
	}
	c := control(i.generation, plan)
	i.holding = plan
	if i.lost = true; plan.FailClosed {
		c.Flags |= flagNoRules
	} else {
		c.Flags = 0
	}
	return i.objects.Control.Put(uint32(0), c.packed())
}

// Cgroups are the patterns of those that are to be captured: the ones of the plan that holds, by its rules or by its fail policy alone. A
// plan that was refused while another one is in force does not change them.
func (i *Inbound) Cgroups() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.holding.Empty() {
		return nil
	}
	return i.holding.Cgroups
}

func control(generation uint32, plan *Plan) wireControl {
	c := wireControl{Generation: generation}
	if plan.Empty() {
		return c
	}
	c.Flags = flagEnabled
	if plan.FailClosed {
		c.Flags |= flagFailClosed
	}
	if plan.Loopback {
		c.Flags |= flagAllLocal
	}
	if plan.Names {
		c.Flags |= flagNames
	}
	if len(plan.Excludes) > 0 {
		c.Flags |= flagHasExcludes
	}
	return c
}

// room is an error when the rules of a plan do not fit beside those in force. To write them and take them back would take seconds.
func (i *Inbound) room(plan *Plan) error {
	most := int(i.objects.Rules.MaxEntries())
	if len(plan.Rules)+len(plan.Excludes)+len(i.plan.Rules)+len(i.plan.Excludes) <= most {
		return nil
	}
	wanted, has := entries(plan), entries(i.plan)
	if wanted+has <= most {
		return nil
	}
	return fmt.Errorf("write %d rules beside %d in force (at most %d rules fit): %w", wanted, has, most, syscall.ENOSPC)
}

// entries is how many entries the rules of a plan have in the kernel: of those with the same destination, one.
func entries(plan *Plan) int {
	n := 0
	for _, rules := range [][]Rule{plan.Rules, plan.Excludes} {
		places := make(map[wirePrefix]struct{}, len(rules))
		for _, r := range rules {
			places[prefixKey(0, 0, r)] = struct{}{}
		}
		n += len(places)
	}
	return n
}

func (i *Inbound) write(generation uint32, plan *Plan) error {
	for kind, rules := range map[uint16][]Rule{kindTake: plan.Rules, kindLeave: plan.Excludes} {
		for n, r := range rules {
			if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6() {
				return fmt.Errorf("write rule from %q: %s is not a masked prefix of one family", r.Origin, r.Prefix)
			}
			key, rule := prefixKey(generation, kind, r), wireRule{ID: uint32(n + 1)}
			var err error
			if rule.Policy, err = i.policies.of(i.objects.Policies, r.Policy); err != nil {
				return fmt.Errorf("write rule %s port %d from %q: %w", r.Prefix, r.Port, r.Origin, err)
			}
			if err := i.objects.Rules.Put(&key, rule); err != nil {
				return fmt.Errorf("write rule %s port %d from %q (at most %d rules fit): %w",
					r.Prefix, r.Port, r.Origin, i.objects.Rules.MaxEntries(), err)
			}
		}
	}
	return nil
}

// erase removes the rules of a generation that is not in force. A missing entry was never written.
func (i *Inbound) erase(generation uint32, plan *Plan) {
	for kind, rules := range map[uint16][]Rule{kindTake: plan.Rules, kindLeave: plan.Excludes} {
		for _, r := range rules {
			key := prefixKey(generation, kind, r)
			_ = i.objects.Rules.Delete(&key) // other errors cannot happen to a key of the right size
		}
	}
}

// forgetStale removes the rules of the generation before the one in force. It is called later than that went out of force: no
// program runs for so long that it still goes by them.
func (i *Inbound) forgetStale() {
	if i.stale != nil {
		i.erase(i.generation-1, i.stale)
		i.stale = nil
		i.policies.keep(i.objects.Policies, i.plan)
	}
}
