// Package decisions tells whoever wants to know which decisions the kernel takes about connections and datagrams, as they are
// taken.
//
// It owns who wants to know, what they want to know of, and the words for it. It must not know the admin interface or how
// configuration arrives. While nobody wants to know, the kernel tells nothing and no goroutine runs. Who reads slower than
// connections are made loses decisions, which are counted; nobody waits for a reader.
//
// Locking: change is held while somebody comes or goes, which talks to the kernel; mu guards who is there, and is held for a moment
// by the goroutine that reads from the kernel.
package decisions

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/observe/stats"
)

// room is how many decisions wait for a reader.
const room = 4096

// Stream is what the kernel tells through, an *events.Listener.
type Stream interface {
	Want(events.Wanted) error
	Lost() uint64
	Close() error
}

// Open begins to listen to the kernel, as events.Ring.Listen does.
type Open func(told func(*events.Event)) (Stream, error)

// Hub hands decisions to those who want them.
type Hub struct {
	describe *Describer
	stats    hubStats

	change   sync.Mutex
	open     Open // nil while the kernel takes no decisions
	stream   Stream
	lost     uint64 // of Stream.Lost, what the statistics have been told of
	recorder *recorder

	mu   sync.Mutex
	subs map[*subscription]struct{}
}

// hubStats are weir.interception.events.*.
type hubStats struct {
	// emitted counts decisions that were handed to a reader, dropped those that a slow one lost, lost those that weir did not take
	// from the kernel in time.
	emitted, dropped, lost *stats.Counter
	consumers              *stats.Gauge
}

// subscription is somebody who wants to know.
type subscription struct {
	filter *Filter
	events chan *Event
	lost   uint64 // guarded by Hub.mu
	end    chan struct{}
}

// New makes a hub without a kernel. The scope is that of weir.interception.events.
func New(d *Describer, scope *stats.Scope) *Hub {
	return &Hub{
		describe: d, subs: make(map[*subscription]struct{}),
		stats: hubStats{scope.Counter("emitted"), scope.Counter("dropped"), scope.Counter("lost"), scope.Gauge("consumers")},
	}
}

// Attach says where decisions are taken, and begins to record them if the configuration asks for it; e is nil when it does not.
func (h *Hub) Attach(open Open, e *model.Events) error {
	h.change.Lock()
	h.open = open
	h.change.Unlock()
	if e == nil {
		return nil
	}
	r, err := newRecorder(h, e)
	if err != nil {
		return fmt.Errorf("record decisions: %w", err)
	}
	h.change.Lock()
	h.recorder = r
	h.change.Unlock()
	return nil
}

// Close ends everything that anybody listens to. It may be called more than once, and without Attach.
func (h *Hub) Close() error {
	h.change.Lock()
	recorder := h.recorder
	h.recorder, h.open = nil, nil
	var subs []*subscription
	h.mu.Lock()
	for s := range h.subs {
		subs = append(subs, s)
	}
	clear(h.subs)
	h.mu.Unlock()
	err := h.adjust()
	h.change.Unlock()
	for _, s := range subs {
		close(s.end)
	}
	if recorder != nil {
		recorder.done.Wait()
	}
	return err
}

var errOff = errors.New("interception is off: no decisions are taken")

// subscribe begins to hand over decisions. unsubscribe must be called.
func (h *Hub) subscribe(f *Filter) (*subscription, error) {
	s := &subscription{filter: f, events: make(chan *Event, room), end: make(chan struct{})}
	h.change.Lock()
	defer h.change.Unlock()
	if h.open == nil {
		return nil, errOff
	}
	h.mu.Lock()
	h.subs[s] = struct{}{}
	h.mu.Unlock()
	if err := h.adjust(); err != nil {
		h.mu.Lock()
		delete(h.subs, s)
		h.mu.Unlock()
		return nil, err
	}
	return s, nil
}

func (h *Hub) unsubscribe(s *subscription) error {
	h.change.Lock()
	defer h.change.Unlock()
	h.mu.Lock()
	delete(h.subs, s)
	h.mu.Unlock()
	return h.adjust()
}

// adjust has the kernel tell what is wanted, and nothing more. The caller holds change.
func (h *Hub) adjust() error {
	var w events.Wanted
	h.mu.Lock()
	for s := range h.subs {
		for kind := range w.Of {
			w.Of[kind].Verdicts |= s.filter.wanted.Of[kind].Verdicts
			w.Of[kind].Reasons |= s.filter.wanted.Of[kind].Reasons
		}
		w.Sample = max(w.Sample, s.filter.wanted.Sample)
		w.EachDatagram = w.EachDatagram || s.filter.wanted.EachDatagram
	}
	n := len(h.subs)
	h.mu.Unlock()
	h.stats.consumers.Set(uint64(n))
	switch {
	case n == 0 && h.stream == nil:
		return nil
	case n == 0:
		h.countLost()
		stream := h.stream
		h.stream, h.lost = nil, 0
		h.describe.forget()
		return stream.Close()
	case h.stream == nil:
		stream, err := h.open(h.told)
		if err != nil {
			return err
		}
		h.stream, h.lost = stream, stream.Lost()
	}
	h.mu.Lock()
	for s := range h.subs {
		s.filter.share = s.filter.wanted.Sample / w.Sample
	}
	h.mu.Unlock()
	return h.stream.Want(w)
}

// countLost counts what the kernel had no room for. The caller holds change.
func (h *Hub) countLost() {
	if h.stream == nil {
		return
	}
	now := h.stream.Lost()
	h.stats.lost.Add(now - h.lost)
	h.lost = now
}

// Collect brings statistics up to date.
func (h *Hub) Collect() {
	h.change.Lock()
	defer h.change.Unlock()
	h.countLost()
}

// told hands a decision to those who want it.
func (h *Hub) told(k *events.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var e *Event
	for s := range h.subs {
		if !s.filter.takes(k) || s.filter.share < 1 && rand.Float64() > s.filter.share {
			continue
		}
		if e == nil {
			e = h.describe.event(k)
		}
		if !s.filter.matches(e) {
			continue
		}
		select {
		case s.events <- e:
			h.stats.emitted.Inc()
		default:
			s.lost++
			h.stats.dropped.Inc()
		}
	}
}

// takeLost is how many decisions a reader has lost since it was asked last.
func (h *Hub) takeLost(s *subscription) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := s.lost
	s.lost = 0
	return n
}
