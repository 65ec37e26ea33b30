package inbound

import "github.com/weir-proxy/weir/pkg/kernel/events"

// source tells of the decisions about connections that come in, in all namespaces.
func (i *Inbound) source() *events.Source {
	return &events.Source{Kind: events.Arrival, Variables: &i.objects.Variables, Complete: i.complete}
}

// complete has the words for an event.
func (i *Inbound) complete(e *events.Event, by events.By) {
	e.Reason = Reason(e.Code).String()
	i.numbered.Complete(e, by)
}

// number has the rules of events be those of a plan.
func (i *Inbound) number(generation uint32, plan *Plan) {
	i.numbered.Set(generation, func(code uint8, rule uint32) string {
		if r := plan.numbered(rule, Reason(code) == ReasonExcluded); r != nil {
			return r.Listener
		}
		return ""
	})
}
