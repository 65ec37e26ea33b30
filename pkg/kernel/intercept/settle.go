package intercept

import (
	"fmt"
	"slices"
)

// round is a grace period: what it will free, as far as that is known when it begins, and the clock since.
type round struct {
	clock uint64
	limbo []extent
}

// settle frees what has left and has no connections any more. It waits once for the programs that run, if there is anything.
func (s *services) settle() error {
	if s.clean() {
		return nil
	}
	r := s.begin()
	if err := s.grace(); err != nil {
		return s.abandon(r, err)
	}
	s.finish(r)
	return nil
}

// settle does the same, and lets others at the mutex while it waits: a grace period takes ten milliseconds and more. The caller
// holds mu, and finds things changed.
func (i *Interceptor) settle() error {
	s := i.services
	if s.settling || s.clean() || len(s.chunks) == 0 {
		return nil
	}
	s.settling = true
	defer func() { s.settling = false }()
	r, first := s.begin(), s.chunks[0].blocks
	i.mu.Unlock()
	i.life.RLock()
	err := errClosed
	if !i.ended {
		err = s.outer.Put(uint32(0), first)
	}
	i.life.RUnlock()
	i.mu.Lock()
	if i.closed {
		return nil
	}
	if err != nil {
		return s.abandon(r, err)
	}
	s.finish(r)
	return nil
}

// clean tells that there is nothing to free.
func (s *services) clean() bool {
	return len(s.draining)+len(s.leaving)+len(s.limbo)+len(s.policies.retired) == 0
}

func (s *services) begin() round {
	s.clock++
	r := round{s.clock, s.limbo}
	s.limbo = nil
	s.policies.condemn()
	return r
}

// abandon keeps everything for another time.
func (s *services) abandon(r round, err error) error {
	s.limbo = append(s.limbo, r.limbo...)
	return fmt.Errorf("wait for running programs: %w", err)
}

// finish frees what left before the round, when the round is over.
func (s *services) finish(r round) {
	s.policies.drop()
	free := r.limbo
	for have := range s.draining {
		free = append(free, s.bury(have, r.clock)...)
		if len(have.leaving) == 0 {
			delete(s.draining, have)
		}
	}
	s.leaving = slices.DeleteFunc(s.leaving, func(have *service) bool {
		if have.left >= r.clock || s.stats(have).Active > 0 || len(have.leaving) > 0 {
			return false
		}
		delete(s.byBlock, have.number)
		free = append(free, extent{have.number, 1})
		return true
	})
	s.release(free)
}

// bury keeps the counts of a service's endpoints that have left and have no connections, and returns their blocks.
func (s *services) bury(have *service, clock uint64) (free []extent) {
	for e, l := range have.leaving {
		stats := s.endpointStats(e, l.number)
		if l.left >= clock || stats.Active > 0 {
			continue
		}
		have.gone[e.Cluster] = have.gone[e.Cluster].plus(stats)
		delete(have.leaving, e)
		free = append(free, extent{l.number, 1})
	}
	return free
}
