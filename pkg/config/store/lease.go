package store

import (
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/translate"
	"github.com/weir-proxy/weir/pkg/config/xds"
)

// lend begins a lease in the place of the last one; nil is none.
func (s *Slot[M]) lend(t *time.Timer) {
	if s.lease != nil {
		s.lease.Stop()
	}
	s.lease = t
}

// arrived notes that a resource came which is in use, changed or not: the time begins anew for which the endpoints of an
// assignment may be used without another one (ClusterLoadAssignment.Policy.endpoint_stale_after).
func (s *Store) arrived(w *want) {
	if w.typeURL != xds.EndpointType {
		return
	}
	slot, e := s.endpoints.slot(w.name), s.endpoints.latest(w.name)
	if e == nil || e.Value.StaleAfter == 0 {
		slot.lend(nil)
		return
	}
	w.stats.scope.Counter("assignment_timeout_received").Inc()
	var timer *time.Timer
	timer = time.AfterFunc(e.Value.StaleAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if slot.lease == timer {
			s.expire(w, slot)
		}
	})
	slot.lend(timer)
}

// expire takes the endpoints of an assignment away, as Envoy does, until the next one comes.
func (s *Store) expire(w *want, slot *Slot[*model.LoadAssignment]) {
	slot.lend(nil)
	m, now := &endpointv3.ClusterLoadAssignment{ClusterName: w.name}, time.Now()
	empty, _, err := s.opt.Translate.LoadAssignment(m, translate.Meta{Dynamic: true, UpdatedAt: now})
	if err != nil {
		s.opt.Log.Error("translate an assignment without endpoints", "name", w.name, "error", err)
		return
	}
	s.opt.Log.Warn("removed endpoints: the control plane did not confirm them in time", "name", w.name)
	w.stats.scope.Counter("assignment_stale").Inc()
	s.endpoints.put(s.deps, w.name, &Entry[*model.LoadAssignment]{Value: empty, Raw: pack(m), Updated: now, hash: empty.Hash})
	s.publish()
}
