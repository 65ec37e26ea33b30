package decisions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// recorder remembers the latest decisions that the configuration asks for.
type recorder struct {
	keep int
	done sync.WaitGroup

	mu   sync.Mutex
	ring []*Event // once it is full, from next on
	next int
}

func newRecorder(h *Hub, e *model.Events) (*recorder, error) {
	f, err := filterOf(e)
	if err != nil {
		return nil, err
	}
	s, err := h.subscribe(f)
	if err != nil {
		return nil, err
	}
	r := &recorder{keep: cmp.Or(e.Keep, model.DefaultKeptEvents)}
	r.done.Go(func() {
		for {
			select {
			case e := <-s.events:
				r.add(e)
			case <-s.end:
				return
			}
		}
	})
	return r, nil
}

func (r *recorder) add(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ring) < r.keep {
		r.ring = append(r.ring, e)
		return
	}
	r.ring[r.next] = e
	r.next = (r.next + 1) % r.keep
}

// past are the decisions that are remembered, the earliest first.
func (r *recorder) past() []*Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.ring[r.next:], r.ring[:r.next])
}

// Parameters are wrong parameters of a question.
type Parameters struct{ error }

// Unwrap returns what is wrong with them.
func (p Parameters) Unwrap() error { return p.error }

// Stream answers a question (see parseQuestion) until ctx ends, the hub is closed, or there are as many decisions as were asked for:
// begin is called when decisions are being listened to, or there is nothing to listen to, and emit with each line, its newline included. A line may tell how many
// decisions were lost because emit was slow. The error before begin is one of Parameters when these are wrong; afterwards it is emit's.
func (h *Hub) Stream(ctx context.Context, params url.Values, begin func(text bool), emit func(line []byte) error) error {
	q, err := parseQuestion(params)
	if err != nil {
		return Parameters{err}
	}
	if q.noFollow {
		return h.pourPast(q, begin, emit)
	}
	s, err := h.subscribe(q.filter)
	if err != nil {
		return err
	}
	begin(q.text)
	err = h.pour(ctx, q, s, emit)
	return errors.Join(err, h.unsubscribe(s))
}

var errNotRecorded = errors.New("no decisions are recorded: weir.interception has no events in the configuration")

// pourPast emits what is remembered, without a word to the kernel.
func (h *Hub) pourPast(q *question, begin func(text bool), emit func([]byte) error) error {
	h.change.Lock()
	open, r := h.open, h.recorder
	h.change.Unlock()
	switch {
	case open == nil:
		return errOff
	case r == nil:
		return errNotRecorded
	}
	begin(q.text)
	for n, e := range h.recorded(q) {
		if q.limit > 0 && n == q.limit {
			return nil
		}
		if err := emit(line(e, q.text)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hub) pour(ctx context.Context, q *question, s *subscription, emit func([]byte) error) error {
	n := 0
	for _, e := range h.recorded(q) {
		if err := emit(line(e, q.text)); err != nil {
			return err
		}
		if n++; n == q.limit {
			return nil
		}
	}
	for {
		select {
		case e := <-s.events:
			if err := emit(line(e, q.text)); err != nil {
				return err
			}
			if n++; n == q.limit {
				return nil
			}
			if lost := h.takeLost(s); lost > 0 {
				if err := emit(gap(lost, q.text)); err != nil {
					return err
				}
			}
		case <-s.end:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// recorded are the remembered decisions that a question asks for.
func (h *Hub) recorded(q *question) []*Event {
	h.change.Lock()
	r := h.recorder
	h.change.Unlock()
	if r == nil || !q.past {
		return nil
	}
	return slices.DeleteFunc(r.past(), func(e *Event) bool { return !q.filter.takes(e.kernel) || !q.filter.matches(e) })
}

func line(e *Event, text bool) []byte {
	if text {
		return []byte(e.Text() + "\n")
	}
	out, err := json.Marshal(e)
	if err != nil { // a struct of strings and numbers has none
		return nil
	}
	return append(out, '\n')
}

func gap(lost uint64, text bool) []byte {
	if text {
		return []byte(LostText(lost) + "\n")
	}
	return fmt.Appendf(nil, "{\"lost\":%d}\n", lost)
}

// LostText is the line that stands for decisions that were lost.
func LostText(lost uint64) string { return fmt.Sprintf("... %d more were not read in time", lost) }
