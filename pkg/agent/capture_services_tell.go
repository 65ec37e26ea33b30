package agent

import (
	"errors"
	"maps"
	"slices"

	"github.com/weir-proxy/weir/pkg/kernel/intercept"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// mayFit tells whether a plan that comes after one with too many rules is worth asking for: it fits, or asks for something else than rules.
func (s *services) mayFit(u *steer.Update) bool {
	if u.Change.Cgroups || u.Policy {
		return true
	}
	if has, known := entries(u.Plan, s.lack); known {
		return has <= s.lack.Capacity
	}
	return len(u.Removed)+len(u.RemovedExcludes) > 0
}

// entries is how many a plan takes of the map that was full; known is false for one that has other things than rules.
func entries(plan *steer.Plan, lack *intercept.FullError) (n uint32, known bool) {
	switch lack.Map {
	case intercept.CaptureMap:
		return uint32(len(plan.Rules)), true
	case intercept.ExcludeMap:
		return uint32(len(plan.Excludes)), true
	}
	return 0, false
}

// tell gives the kernel the plan, if it has another one, and says whether it has this one now.
func (s *services) tell() bool {
	switch s.plan {
	case s.told:
		return true
	case s.hopeless:
		return false
	}
	err := s.ask()
	s.refused = nil
	if rules, ok := errors.AsType[*intercept.RulesError](err); ok {
		s.refused = rules
		if lack, ok := errors.AsType[*intercept.FullError](err); ok && lack.Permanent() {
			s.hopeless, s.lack = s.plan, lack
		}
	}
	if s.change = nil; err != nil {
		s.log.Error("the kernel kept its earlier rules", "error", err)
		return false
	}
	s.told, s.hopeless = s.plan, nil
	return true
}

// ask has the kernel go from the plan that it has to the present one. What is new goes in before what is old goes out; when there is no
// room for both, though there is for the new, what is old goes out first.
func (s *services) ask() error {
	var err error
	if s.change != nil {
		err = s.kernel.Update(s.told, s.plan, *s.change)
	} else {
		err = s.kernel.Apply(s.plan)
	}
	lack, ok := errors.AsType[*intercept.FullError](err)
	if !ok || !lack.Permanent() || len(s.told.Rules) == 0 {
		return err
	}
	if has, known := entries(s.plan, lack); !known || has > lack.Capacity {
		return err
	}
	stays := steer.Common(s.told, s.plan)
	if s.kernel.Apply(stays) != nil {
		return err
	}
	s.told = stays
	return s.kernel.Apply(s.plan)
}

// put gives services to the kernel. What it does not take goes through user space.
func (s *services) put(made []*steer.Service) {
	if len(made) == 0 || s.kernel.ApplyServices(made, nil) == nil {
		return
	}
	for i := range made {
		if err := s.kernel.ApplyServices(made[i:i+1], nil); err != nil {
			s.log.Error("a service is not offloaded", "error", err)
			s.unfit(made[i].Name, "the kernel did not take the service: "+err.Error())
		}
	}
	u := s.compiler.Flush()
	s.take(&u)
}

// forget drops the services that no rule refers to any more.
func (s *services) forget() {
	if len(s.gone) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(s.gone))
	for _, name := range names {
		if have := s.made[name]; have != nil {
			have.counts.collect(s.kernel, name, s.clusters().Get)
			have.counts.takeOver(nil, s.clusters().Get)
			have.counts.close(s.clusters().Get)
			delete(s.made, name)
		}
	}
	if err := s.kernel.ApplyServices(nil, names); err != nil {
		s.log.Error("forget services", "error", err)
	}
	s.gone = make(map[string]struct{})
}
