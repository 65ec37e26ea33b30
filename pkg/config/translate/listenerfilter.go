package translate

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// listenerFilters translates the listener filters; those with errors are left out.
func (c *call) listenerFilters(list []*listenerv3.ListenerFilter) []*model.ListenerFilter {
	var root *path
	var out []*model.ListenerFilter
	for i, f := range list {
		at := root.elem("listener_filters", i)
		disabled := listenerPredicate(f.GetFilterDisabled())
		if d := f.GetConfigDiscovery(); d != nil {
			out = append(out, &model.ListenerFilter{Name: f.GetName(), Disabled: disabled, Discovery: c.discovery(
				filterKind{model.ListenerFilterKind, extension.ListenerFilters}, f.GetName(), d, false, at.field("config_discovery"),
			)})
			continue
		}
		factory, config := c.extension(extension.ListenerFilters, f.GetName(), f.GetTypedConfig(), false, at)
		if factory != nil {
			out = append(out, &model.ListenerFilter{Name: f.GetName(), TypeURL: factory.TypeURL(), Config: config, Disabled: disabled})
		}
	}
	return out
}

// listenerPredicate translates what connections a listener filter leaves alone; nil stays nil. Validation has refused sets of less than
// two rules, predicates without a rule, and an any_match of false.
func listenerPredicate(m *listenerv3.ListenerFilterChainMatchPredicate) *model.ListenerPredicate {
	if m == nil {
		return nil
	}
	out := predicate(m)
	return &out
}

func predicate(m *listenerv3.ListenerFilterChainMatchPredicate) model.ListenerPredicate {
	switch r := m.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		return predicates(model.PredicateOr, r.OrMatch.GetRules()...)
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		return predicates(model.PredicateAnd, r.AndMatch.GetRules()...)
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		return predicates(model.PredicateNot, r.NotMatch)
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		return model.ListenerPredicate{Kind: model.PredicatePort, Start: r.DestinationPortRange.GetStart(), End: r.DestinationPortRange.GetEnd()}
	}
	return model.ListenerPredicate{}
}

func predicates(kind model.PredicateKind, of ...*listenerv3.ListenerFilterChainMatchPredicate) model.ListenerPredicate {
	out := model.ListenerPredicate{Kind: kind}
	for _, m := range of {
		out.Of = append(out.Of, predicate(m))
	}
	return out
}
