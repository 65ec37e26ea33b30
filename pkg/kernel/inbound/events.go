package inbound

import "github.com/weir-proxy/weir/pkg/kernel/events"

// named is the plan that a generation's rules are numbered in.
type named struct {
	generation uint32
	plan       *Plan
}

// source tells of the decisions about connections that come in, in all namespaces.
func (i *Inbound) source() *events.Source {
	return &events.Source{Kind: events.Arrival, Variables: &i.objects.Variables, Complete: i.complete}
}

// complete has the words for an event.
func (i *Inbound) complete(e *events.Event, by events.By) {
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
