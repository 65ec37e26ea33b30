package datagram

import (
	"errors"

	"github.com/weir-proxy/weir/pkg/kernel/events"
	"github.com/weir-proxy/weir/pkg/kernel/steer"
)

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
	e.Reason = Reason(e.Code).String()
	i.numbered.Complete(e, by)
}

// number has the rules of events be those of a plan.
func (i *Interceptor) number(generation uint32, plan *steer.Plan) {
	i.numbered.Set(generation, func(code uint8, rule uint32) string {
		if r := plan.Numbered(rule, Reason(code) == ReasonExcluded); r != nil {
			return r.Listener
		}
		return ""
	})
}
