package intercept

import "github.com/weir-proxy/weir/pkg/kernel/events"

// source tells of the decisions about connect().
func (i *Interceptor) source() *events.Source {
	return &events.Source{Kind: events.Connect, Variables: &i.objects.Variables, Complete: i.complete}
}

// complete has the words for an event.
func (i *Interceptor) complete(e *events.Event, by events.By) {
	e.Reason = Reason(e.Code).String()
	if by.Epoch != i.numbers.epoch {
		e.Rule = 0
		return
	}
	e.Listener = i.rules.names.name(by.Listener)
	if by.Service == 0 {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.services.byBlock[by.Service]; s != nil {
		e.Service = s.name
	}
}
