package events

import "sync/atomic"

// Rules are those that the numbers in a Source's events are of. It is safe for concurrent use; the zero value knows none.
type Rules struct{ now atomic.Pointer[numbered] }

// numbered are the rules of one epoch.
type numbered struct {
	epoch    uint32
	listener func(code uint8, rule uint32) string
}

// Set says that events of an epoch number the rules of which listener gives the name of the listener, for a rule by which a decision was
// taken for the reason with that code.
func (r *Rules) Set(epoch uint32, listener func(code uint8, rule uint32) string) {
	r.now.Store(&numbered{epoch, listener})
}

// Complete names the listener of an event's rule. The number of a rule of another epoch means nothing any more, and is left out.
func (r *Rules) Complete(e *Event, by By) {
	now := r.now.Load()
	if now == nil || now.epoch != by.Epoch {
		e.Rule = 0
		return
	}
	e.Listener = now.listener(e.Code, by.Rule)
}
