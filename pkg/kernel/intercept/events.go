package intercept

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// wireEvent is struct weir_event of bpf/types.h.
type wireEvent struct {
	At, Cookie, Cgroup, Netns                uint64
	Addr, Target                             wireAddr
	Port, TargetPort                         wirePort
	Action, Reason, Protocol, Family         uint8
	PID, UID, Epoch, Listener, Rule, Service uint32
	Command                                  [16]byte
}

// Event is a decision that the kernel has taken about a connection.
type Event struct {
	// At is when it was taken.
	At time.Time
	// Dst is where the application wanted to go, Target the capture socket or endpoint that it was sent to, the zero value when it
	// was sent nowhere else. IPv4 is unmapped.
	Dst, Target netip.AddrPort
	Action      Action
	Reason      Reason
	// TCP tells that it was a TCP connection; anything else is passed.
	TCP bool
	// Listener that the rule was made for and Service that it offloads to, "" when there is none or it has gone; Rule is the number of
	// the rule, 0 for none.
	Listener, Service string
	Rule              uint32
	// Cookie is the client socket's SO_COOKIE, Netns that of its network namespace.
	Cookie, Netns uint64
	// Cgroup is the id of the cgroup of the task that called connect(). PID and UID are its process and user id in the initial
	// namespaces. Command is the process's name, "" before Linux 6.0.
	Cgroup   uint64
	PID, UID uint32
	Command  string
}

// Wanted says which decisions are told of. The zero value wants none.
type Wanted struct {
	// Actions and Reasons are bits, 1 << Action and 1 << Reason; a decision needs both of its bits.
	Actions uint32
	Reasons uint64
	// Sample is the share of those decisions that is told, above 0 and at most 1, drawn for each.
	Sample float64
}

// Everything wants each decision.
func Everything() Wanted { return Wanted{Actions: math.MaxUint32, Reasons: math.MaxUint64, Sample: 1} }

// Events are what Interceptor.Events tells of.
type Events struct {
	of     *Interceptor
	reader *ringbuf.Reader
	done   sync.WaitGroup
	clock  time.Duration // what the wall clock has more than the kernel's
}

// Events calls told with each decision that is wanted, in about the order in which they were taken, on a goroutine that Close waits
// for. Nothing is wanted at first. There may be one at a time. The event is told's to keep.
func (i *Interceptor) Events(told func(*Event)) (*Events, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil, fmt.Errorf("listen to decisions: %w", errClosed)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("listen to decisions: read clock: %w", err)
	}
	reader, err := ringbuf.NewReader(i.objects.Events)
	if err != nil {
		return nil, fmt.Errorf("listen to decisions: %w", err)
	}
	e := &Events{of: i, reader: reader, clock: time.Duration(time.Now().UnixNano() - now.Nano())}
	e.done.Go(func() { e.run(told) })
	return e, nil
}

// Want says which decisions are told of from now on.
func (e *Events) Want(w Wanted) error {
	o := e.of.objects
	e.of.life.RLock()
	defer e.of.life.RUnlock()
	if e.of.ended {
		return fmt.Errorf("choose decisions: %w", errClosed)
	}
	reasons := w.Reasons
	if w.Sample <= 0 || w.Actions == 0 {
		reasons = 0
	}
	sample := uint32(math.MaxUint32)
	if w.Sample < 1 {
		sample = uint32(math.Max(w.Sample, 0) * math.MaxUint32)
	}
	// The reasons switch it on, and so come last.
	if err := errors.Join(o.EventActions.Set(w.Actions), o.EventSample.Set(sample), o.EventReasons.Set(reasons)); err != nil {
		return fmt.Errorf("choose decisions: %w", err)
	}
	return nil
}

// Lost counts the decisions that were wanted and found no room since the programs were loaded, because they were not read as fast
// as they were taken.
func (e *Events) Lost() uint64 {
	e.of.life.RLock()
	defer e.of.life.RUnlock()
	var n uint64
	if e.of.ended || e.of.objects.EventsLost.Get(&n) != nil {
		return 0
	}
	return n
}

// Close wants nothing any more and ends the telling. It must be called before the Interceptor is closed, and not by what Events was
// given.
func (e *Events) Close() error {
	err := errors.Join(e.Want(Wanted{}), e.reader.Close())
	e.done.Wait()
	return err
}

func (e *Events) run(told func(*Event)) {
	var record ringbuf.Record
	for {
		if err := e.reader.ReadInto(&record); err != nil {
			return // closed
		}
		var w wireEvent
		if _, err := binary.Decode(record.RawSample, binary.NativeEndian, &w); err == nil {
			told(e.event(&w))
		}
	}
}

func (e *Events) event(w *wireEvent) *Event {
	out := &Event{
		At: time.Unix(0, int64(w.At)).Add(e.clock), Dst: addrPort(w.Addr, w.Port), Action: Action(w.Action), Reason: Reason(w.Reason),
		TCP: w.Protocol == protocolTCP, Cookie: w.Cookie, Netns: w.Netns, Cgroup: w.Cgroup, PID: w.PID, UID: w.UID,
	}
	name, _, _ := bytes.Cut(w.Command[:], []byte{0})
	out.Command = string(name)
	if out.Action == ActionRedirect || out.Action == ActionOffload {
		out.Target = addrPort(w.Target, w.TargetPort)
	}
	if w.Epoch != e.of.state.epoch {
		return out
	}
	out.Listener, out.Rule = e.of.rules.names.name(w.Listener), w.Rule
	if w.Service != 0 {
		e.of.mu.Lock()
		if s := e.of.services.byBlock[w.Service]; s != nil {
			out.Service = s.name
		}
		e.of.mu.Unlock()
	}
	return out
}
