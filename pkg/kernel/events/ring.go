package events

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// MapName is what objects call the ring.
const MapName = "weir_events"

// size is that of the ring in bytes, as in bpf/event.h.
const size = 1 << 20

var errClosed = errors.New("the ring of events is closed")

// Variables are an object's switches. They are loaded as a part of its objects.
type Variables struct {
	Reasons *ebpf.Variable `ebpf:"weir_events_reasons"`
	Actions *ebpf.Variable `ebpf:"weir_events_actions"`
	Sample  *ebpf.Variable `ebpf:"weir_events_sample"`
	Lost    *ebpf.Variable `ebpf:"weir_events_lost"`
}

// Source is an object that takes decisions.
type Source struct {
	Kind      Kind
	Variables *Variables
	// Prepare is called before anything that is wanted changes, with the share of EachDatagram; it may be nil.
	Prepare func(Wanted) error
	// Complete adds the words: the name of the reason, and of what the numbers mean. It is called by the goroutine that reads, also for a
	// short while after Remove.
	Complete func(e *Event, by By)
}

// Ring is the ring buffer of all objects.
type Ring struct {
	m *ebpf.Map

	mu        sync.Mutex
	closed    bool
	listening bool
	sources   [Kinds]*Source
	wanted    Wanted
	// gone are the events that sources lost which are no longer there.
	gone uint64
}

// New makes a ring, before any object is loaded.
func New() (*Ring, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: MapName, Type: ebpf.RingBuf, MaxEntries: size})
	if err != nil {
		return nil, fmt.Errorf("create ring of events: %w", err)
	}
	return &Ring{m: m}, nil
}

// Replace puts the ring in the place of an object's own: what is loaded with the result tells through it. A nil Ring leaves the object its
// own, which nobody reads.
func (r *Ring) Replace(with map[string]*ebpf.Map) map[string]*ebpf.Map {
	if r == nil {
		return with
	}
	out := map[string]*ebpf.Map{MapName: r.m}
	for name, m := range with {
		out[name] = m
	}
	return out
}

// Close releases the ring. Who listens must have ended before. Objects that are loaded go on without readers.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return r.m.Close()
}

// Add has a source tell what is wanted from now on. There is at most one of a kind. With a nil Ring it does nothing.
func (r *Ring) Add(s *Source) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources[s.Kind] = s
	return s.want(r.wanted)
}

// Remove forgets a source, before its variables go. With a nil Ring, or a source that was not added, it does nothing.
func (r *Ring) Remove(s *Source) {
	if r == nil || s == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources[s.Kind] == s {
		r.gone += s.lost()
		r.sources[s.Kind] = nil
	}
}

// Listener is somebody who is told.
type Listener struct {
	ring   *Ring
	reader *ringbuf.Reader
	done   sync.WaitGroup
	clock  time.Duration // what the wall clock has more than the kernel's
}

// Listen calls told with each decision that is wanted, in the order in which they were taken, on a goroutine that Close waits for.
// Nothing is wanted at first. There may be one at a time. The event is told's to keep.
func (r *Ring) Listen(told func(*Event)) (*Listener, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("listen to decisions: %w", errClosed)
	}
	if r.listening {
		return nil, errors.New("listen to decisions: somebody does already")
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("listen to decisions: read clock: %w", err)
	}
	reader, err := ringbuf.NewReader(r.m)
	if err != nil {
		return nil, fmt.Errorf("listen to decisions: %w", err)
	}
	r.listening = true
	l := &Listener{ring: r, reader: reader, clock: time.Duration(time.Now().UnixNano() - now.Nano())}
	l.done.Go(func() { l.run(told) })
	return l, nil
}

// Want says which decisions are told of from now on.
func (l *Listener) Want(w Wanted) error {
	r := l.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wanted = w
	var failed []error
	for _, s := range r.sources {
		if s != nil {
			failed = append(failed, s.want(w))
		}
	}
	return errors.Join(failed...)
}

// Lost counts the decisions that were wanted and found no room since the sources were loaded, because they were not read as fast as
// they were taken.
func (l *Listener) Lost() uint64 {
	r := l.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.gone
	for _, s := range r.sources {
		if s != nil {
			n += s.lost()
		}
	}
	return n
}

// Close wants nothing any more and ends the telling. It must be called before the Ring is closed, and not by what Listen was given.
func (l *Listener) Close() error {
	err := errors.Join(l.Want(Wanted{}), l.reader.Close())
	l.done.Wait()
	l.ring.mu.Lock()
	defer l.ring.mu.Unlock()
	l.ring.listening = false
	return err
}

func (l *Listener) run(told func(*Event)) {
	var record ringbuf.Record
	for {
		if err := l.reader.ReadInto(&record); err != nil {
			return // closed
		}
		e, by, err := decode(record.RawSample, l.clock)
		if err != nil || e.Kind >= Kinds {
			continue // nothing that this version's programs write
		}
		l.ring.mu.Lock()
		s := l.ring.sources[e.Kind]
		l.ring.mu.Unlock()
		if s == nil {
			continue // it has gone, and its words with it
		}
		s.Complete(e, by)
		told(e)
	}
}

// want sets a source's switches.
func (s *Source) want(w Wanted) error {
	of := w.Of[s.Kind]
	if w.Sample <= 0 || of.Verdicts == 0 {
		of.Reasons = 0
	}
	sample := uint32(math.MaxUint32)
	if w.Sample < 1 {
		sample = uint32(math.Max(w.Sample, 0) * math.MaxUint32)
	}
	var prepared error
	if s.Prepare != nil {
		prepared = s.Prepare(w)
	}
	v := s.Variables
	// The reasons switch it on, and so come last.
	if err := errors.Join(prepared, v.Actions.Set(of.Verdicts), v.Sample.Set(sample), v.Reasons.Set(of.Reasons)); err != nil {
		return fmt.Errorf("choose decisions: %w", err)
	}
	return nil
}

func (s *Source) lost() uint64 {
	var n uint64
	if s.Variables.Lost.Get(&n) != nil {
		return 0
	}
	return n
}
