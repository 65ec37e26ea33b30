package intercept

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

var errClosed = errors.New("interceptor is closed")

// Apply makes the plan what the kernel goes by. A connect() sees either the old rules or the new ones, never a mixture: the new
// rules are written beside the old ones, put in force by one pointer swap, and then the old ones are deleted. When Apply fails
// before the swap, the old rules stay in force; an error about cgroups leaves the new rules in force where programs are
// attached. Apply takes time proportional to the number of rules when they changed, and none to speak of when they did not.
func (i *Interceptor) Apply(plan *steer.Plan) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("apply interception plan: %w", errClosed)
	}
	if i.yielded {
		return nil
	}
	if plan == nil {
		plan = &steer.Plan{}
	}
	next := i.applied
	next.plan = plan
	if err := i.switchTo(next); err != nil {
		return fmt.Errorf("apply interception plan: %w", err)
	}
	if err := i.reattach(plan); err != nil {
		return fmt.Errorf("apply interception plan: %w", err)
	}
	return nil
}

// switchTo puts next in force. Rules are rewritten under a new generation only when they differ.
func (i *Interceptor) switchTo(next applied) error {
	previous, names := i.applied, i.names.Load()
	rewrite := previous.generation == 0 || steer.Diff(previous.plan, next.plan).Rules()
	if rewrite {
		next.generation = i.state.generation(previous.generation)
		if err := i.writeRules(next.generation, next.plan); err != nil {
			i.deleteRules(next.generation, next.plan)
			return err
		}
		i.names.Store(names.with(next.generation, next.plan))
	}
	if err := i.swapControl(next); err != nil {
		if rewrite {
			i.names.Store(names)
			i.deleteRules(next.generation, next.plan)
		}
		return err
	}
	i.applied = next
	if rewrite {
		i.deleteRules(previous.generation, previous.plan)
	}
	return nil
}

// swapControl fills a fresh control map and swaps it in. The kernel keeps the inner map alive for as long as it is in place,
// and returns from the swap when no program runs on the old one any more.
func (i *Interceptor) swapControl(next applied) error {
	inner, err := ebpf.NewMap(i.controlInner)
	if err != nil {
		return fmt.Errorf("create control map: %w", err)
	}
	defer inner.Close()
	control := i.control(next)
	if err := inner.Put(uint32(0), &control); err != nil {
		return fmt.Errorf("fill control map: %w", err)
	}
	if err := i.objects.Control.Put(uint32(0), inner); err != nil {
		return fmt.Errorf("swap control map: %w", err)
	}
	return nil
}

func (i *Interceptor) control(next applied) wireControl {
	control := wireControl{
		Generation:  next.generation,
		ProxyMark:   i.opts.ProxyMark,
		ProxyCgroup: i.opts.ProxyCgroup,
	}
	if !next.plan.Disabled && len(next.plan.Rules) > 0 {
		control.Flags |= flagEnabled
	}
	if next.plan.FailClosed {
		control.Flags |= flagFailClosed
	}
	if len(next.plan.Excludes) > 0 {
		control.Flags |= flagHasExcludes
	}
	return control
}

// writeRules enters the plan's rules under a generation that is not in force. Ids are positions in the plan, plus one.
func (i *Interceptor) writeRules(generation uint32, plan *steer.Plan) error {
	for _, rule := range slices.Concat(plan.Rules, plan.Excludes) {
		if !rule.Prefix.IsValid() || rule.Prefix != rule.Prefix.Masked() || rule.Prefix.Addr().Is4In6() {
			return fmt.Errorf("write rule from %q: %s is not a masked prefix of one family", rule.Origin, rule.Prefix)
		}
	}
	ids := listenerIDs(plan)
	for n, rule := range plan.Rules {
		key := prefixKey(generation, rule)
		value := wireRule{Action: uint32(rule.Action), Listener: ids[rule.Listener], Rule: uint32(n + 1)}
		if err := i.objects.Capture.Put(&key, &value); err != nil {
			err = full(err, "weir_capture", i.objects.Capture)
			return fmt.Errorf("write capture rule %s %s port %d: %w", rule.Prefix, rule.Protocol, rule.Port, err)
		}
	}
	for n, rule := range plan.Excludes {
		key := prefixKey(generation, rule)
		value := wireRule{Rule: uint32(n + 1)}
		if err := i.objects.Exclude.Put(&key, &value); err != nil {
			err = full(err, "weir_exclude", i.objects.Exclude)
			return fmt.Errorf("write exclusion %s %s port %d: %w", rule.Prefix, rule.Protocol, rule.Port, err)
		}
	}
	return nil
}

// deleteRules removes the rules of a generation that is not in force. A missing entry was never written; other errors cannot
// happen to a key of the right size, and would only leave memory in use.
func (i *Interceptor) deleteRules(generation uint32, plan *steer.Plan) {
	for _, rule := range plan.Rules {
		key := prefixKey(generation, rule)
		_ = i.objects.Capture.Delete(&key)
	}
	for _, rule := range plan.Excludes {
		key := prefixKey(generation, rule)
		_ = i.objects.Exclude.Delete(&key)
	}
}

// listenerIDs numbers the plan's listeners from 1; 0 is no listener.
func listenerIDs(plan *steer.Plan) map[string]uint32 {
	ids := make(map[string]uint32)
	for n, name := range plan.Listeners() {
		ids[name] = uint32(n + 1)
	}
	return ids
}
