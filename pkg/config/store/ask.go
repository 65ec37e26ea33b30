package store

import (
	"context"
)

// maxAsks bounds how many things requests may wait for at once; what comes beyond is taken for not there.
const maxAsks = 10_000

// asks are things that requests wait for, each asked for once however many wait. Guarded by Store.mu.
type asks map[string]*ask

// ask is one of them.
type ask struct {
	waiting int
	// told is closed when the answer is in force, or known to be none.
	told chan struct{}
}

// answered ends the wait for name with the next publication, and tells whether there was one.
func (s *Store) answered(list asks, name string) bool {
	a := list[name]
	if a == nil {
		return false
	}
	delete(list, name)
	s.told = append(s.told, a.told)
	return true
}

// join waits for name until it is answered or ctx ends. begin is called by the first who waits, abandon by the last one who
// leaves without an answer. It is called with mu held, and returns without.
func (s *Store) join(ctx context.Context, list asks, name string, begin, abandon func()) error {
	a := list[name]
	if a == nil {
		if len(list) >= maxAsks {
			s.mu.Unlock()
			return nil
		}
		a = &ask{told: make(chan struct{})}
		list[name] = a
		begin()
	}
	a.waiting++
	s.mu.Unlock()
	err := await(ctx, a.told)
	s.mu.Lock()
	if a.waiting--; a.waiting == 0 && list[name] == a {
		delete(list, name)
		abandon()
	}
	s.mu.Unlock()
	return err
}
