// Package earlymutation is Envoy's envoy.http.early_header_mutation.header_mutation: changes to the headers of a request
// before the connection manager and its filters look at them.
//
// It owns the extension's configuration. It must not know the connection manager.
package earlymutation

import (
	"errors"
	"fmt"
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/headers"
)

// Factory describes the extension.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.EarlyHeaderMutations, Name: "envoy.http.early_header_mutation.header_mutation",
		Config:  &mutationv3.HeaderMutation{},
		Decode:  func(m proto.Message) (any, error) { return decodeConfig(m.(*mutationv3.HeaderMutation)) },
		Support: support(),
	}
}

func support() map[string]extension.Fields {
	return map[string]extension.Fields{
		"envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation": {"mutations": {}},
		"envoy.config.common.mutation_rules.v3.HeaderMutation":                          {"remove": {}, "append": {}, "remove_on_match": {}},
		"envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch":            {"key_matcher": {}},
		"envoy.config.core.v3.HeaderValueOption":                                        {"header": {}, "append": {}, "append_action": {}, "keep_empty_value": {}},
		"envoy.config.core.v3.HeaderValue":                                              {"key": {}, "value": {}, "raw_value": {}},
	}
}

// Mutation is the decoded configuration. It is immutable.
type Mutation struct{ list headers.Mutations }

var _ filter.EarlyMutation = (*Mutation)(nil)

// Mutate implements filter.EarlyMutation.
func (m *Mutation) Mutate(s *filter.Stream) { m.list.Apply(s, &s.Request.Headers) }

func decodeConfig(m *mutationv3.HeaderMutation) (*Mutation, error) {
	out := &Mutation{}
	var errs []error
	for i, h := range m.GetMutations() {
		var list headers.Mutations
		var err error
		switch {
		case h.GetRemove() != "":
			list, err = headers.Remove(h.GetRemove())
		case h.GetAppend() != nil:
			var o model.HeaderOption
			if o, err = decode.HeaderOption(h.GetAppend()); err == nil {
				list, err = headers.Add(o)
			}
		case h.GetRemoveOnMatch() != nil:
			var m model.StringMatcher
			m, err = decode.StringMatcher(h.GetRemoveOnMatch().GetKeyMatcher())
			list = headers.RemoveMatching(m)
		default:
			err = errors.New("action: must be set")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mutations[%d]: %w", i, err))
			continue
		}
		out.list = slices.Concat(out.list, list)
	}
	return out, errors.Join(errs...)
}
