package intercept

import (
	"errors"
	"fmt"

	"github.com/weir-proxy/weir/pkg/kernel/program"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

var errClosed = errors.New("interceptor is closed")

// Apply makes the plan what the kernel goes by. Every destination has either its old rule or its new one at any moment. When the
// rules cannot be changed, because a map is full for example (*FullError), they are what they were, or, when there were none, the
// fail policy holds for everything: the error is a *RulesError. One about cgroups leaves the new rules in force where programs are
// attached. Apply compares the plan with the one in force; Update is told.
func (i *Interceptor) Apply(plan *steer.Plan) error {
	if plan == nil {
		plan = &steer.Plan{}
	}
	return i.update(nil, plan, nil)
}

// Update is Apply for who knows what differs: change leads from the plan before to this one. Its cost is that of the change. When
// the plan in force is another one than before, as after an Update that failed, the plans are compared.
func (i *Interceptor) Update(before, plan *steer.Plan, change steer.Change) error {
	return i.update(before, plan, &change)
}

func (i *Interceptor) update(before, plan *steer.Plan, change *steer.Change) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return fmt.Errorf("apply interception plan: %w", errClosed)
	}
	if i.pinned.Yielded() {
		return nil
	}
	told := change != nil && before == i.applied.plan && i.attachedAll
	if !told {
		difference := steer.Diff(i.applied.plan, plan)
		change = &difference
	}
	same := told && i.lost == nil && !change.Cgroups && !change.Policy && (len(before.Rules) == 0) == (len(plan.Rules) == 0)
	if err := i.switchTo(plan, change); err != nil {
		return fmt.Errorf("apply interception plan: %w", &RulesError{errors.Join(err, i.withoutRules(plan))})
	}
	i.lost = nil
	if same {
		return nil
	}
	if err := i.reattach(plan); err != nil {
		return fmt.Errorf("apply interception plan: %w", err)
	}
	return nil
}

// switchTo puts the plan in force. Settings that a rule depends on come before it, and go after it.
func (i *Interceptor) switchTo(plan *steer.Plan, change *steer.Change) error {
	before := i.applied
	wanted := i.control(plan)
	during := wanted
	during.Flags |= i.inForce.Flags & (flagHasExcludes | flagRulesLost)
	if i.inForce.Flags&flagEnabled == 0 {
		during.Flags &^= flagEnabled
	}
	if err := i.swapControl(during); err != nil {
		return err
	}
	if err := i.rules.change(change); err != nil {
		if i.lost != nil {
			return err
		}
		return errors.Join(err, i.swapControl(i.control(before.plan)))
	}
	i.applied.plan = plan
	if before.generation == 0 || change.Rules() {
		i.applied.generation = i.numbers.next(before.generation)
	}
	return i.swapControl(wanted)
}

// withoutRules has the fail policy of a plan hold for everything, since its rules are not in the kernel and no others are: with CLOSED
// all connections of its cgroups are refused, but for the proxy's own. Rules that are in force stay.
func (i *Interceptor) withoutRules(plan *steer.Plan) error {
	if i.lost == nil && len(i.applied.plan.Rules) > 0 && !i.applied.plan.Disabled {
		return nil
	}
	control := i.control(plan)
	control.Flags |= flagRulesLost
	i.lost = plan
	if !plan.FailClosed {
		control.Flags, i.lost = 0, nil
	}
	if err := i.swapControl(control); err != nil {
		return err
	}
	return i.reattach(i.capturing())
}

// capturing is the plan whose cgroups are captured.
func (i *Interceptor) capturing() *steer.Plan {
	if i.lost != nil {
		return i.lost
	}
	return i.applied.plan
}

// swapControl puts settings in force unless they are.
func (i *Interceptor) swapControl(control wireControl) error {
	if control == i.inForce {
		return nil
	}
	if err := program.SwapControl(i.objects.Control, i.controlInner, &control); err != nil {
		return err
	}
	i.inForce = control
	return nil
}

func (i *Interceptor) control(plan *steer.Plan) wireControl {
	control := wireControl{
		Epoch:       i.numbers.epoch,
		ProxyMark:   i.opts.ProxyMark,
		ProxyCgroup: i.opts.ProxyCgroup,
		Netns:       i.opts.Netns,
	}
	if !plan.Disabled && len(plan.Rules) > 0 {
		control.Flags |= flagEnabled
	}
	if plan.FailClosed {
		control.Flags |= flagFailClosed
	}
	if len(plan.Excludes) > 0 {
		control.Flags |= flagHasExcludes
	}
	return control
}
