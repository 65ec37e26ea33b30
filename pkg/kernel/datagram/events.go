package datagram

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

// named is the plan that a generation's rules are numbered in.
type named struct {
	generation uint32
	plan       *steer.Plan
}

// source tells of the decisions about connect() and sendmsg() of UDP.
func (i *Interceptor) source() *events.Source {
	o, round := i.objects, uint32(0)
	return &events.Source{
		Kind: events.Datagram, Variables: &o.Variables, Complete: i.complete,
		Prepare: func(w events.Wanted) error { // the ring calls it under its lock
			round++
			each := uint32(0)
			if w.EachDatagram {
				each = 1
			}
			return errors.Join(o.EventsEach.Set(each), o.EventsRound.Set(round))
		},
	}
}

// complete has the words for an event.
func (i *Interceptor) complete(e *events.Event, by events.By) {
	reason := Reason(e.Code)
	e.Reason = reason.String()
	now := i.named.Load()
	if now == nil || now.generation != by.Epoch {
		e.Rule = 0
		return
	}
	rules := now.plan.Rules
	if reason == ReasonExcluded {
		rules = now.plan.Excludes
	}
	if n := int(by.Rule); n > 0 && n <= len(rules) {
		e.Listener = rules[n-1].Listener
	}
}
