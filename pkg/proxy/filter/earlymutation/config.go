// Package earlymutation is Envoy's envoy.http.early_header_mutation.header_mutation: changes to the headers of a request
// before the connection manager and its filters look at them.
//
// It owns the extension's configuration. It must not know the connection manager.
package earlymutation

import (
	"errors"
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/headers"
)

// Factory describes the extension.
func Factory() extension.Factory {
	return extension.Factory{
		Category: extension.EarlyHeaderMutations, Name: "envoy.http.early_header_mutation.header_mutation",
		Config:  &mutationv3.HeaderMutation{},
		Decode:  func(m proto.Message) (any, error) { return decode(m.(*mutationv3.HeaderMutation)) },
		Support: support(),
	}
}

func support() map[string]extension.Fields {
	return map[string]extension.Fields{
		"envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation": {"mutations": {}},
		"envoy.config.common.mutation_rules.v3.HeaderMutation":                          {"remove": {}, "append": {}},
		"envoy.config.core.v3.HeaderValueOption":                                        {"header": {}, "append": {}, "append_action": {}, "keep_empty_value": {}},
		"envoy.config.core.v3.HeaderValue":                                              {"key": {}, "value": {}, "raw_value": {}},
	}
}

// Mutation is the decoded configuration. It is immutable.
type Mutation struct{ list headers.Mutations }

var _ filter.EarlyMutation = (*Mutation)(nil)

// Mutate implements filter.EarlyMutation.
func (m *Mutation) Mutate(s *filter.Stream) { m.list.Apply(s, &s.Request.Headers) }

func decode(m *mutationv3.HeaderMutation) (*Mutation, error) {
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
			if o, err = option(h.GetAppend()); err == nil {
				list, err = headers.Add(o)
			}
		default:
			err = errors.New("action must be remove or append; others are not supported by weir")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mutations[%d]: %w", i, err))
			continue
		}
		out.list = slices.Concat(out.list, list)
	}
	return out, errors.Join(errs...)
}

// option translates one header to add.
func option(h *corev3.HeaderValueOption) (model.HeaderOption, error) {
	o := model.HeaderOption{Name: h.GetHeader().GetKey(), Value: h.GetHeader().GetValue(), KeepEmpty: h.GetKeepEmptyValue()}
	if raw := h.GetHeader().GetRawValue(); len(raw) > 0 {
		o.Value = string(raw)
	}
	switch h.GetAppendAction() {
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		o.Append = model.AddIfAbsent
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
		o.Append = model.OverwriteOrAdd
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		o.Append = model.OverwriteIfExists
	}
	if h.GetAppend() != nil { //nolint:staticcheck // deprecated, and still in use
		if h.GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
			return o, errors.New("both append and append_action are set and it's not allowed")
		}
		if !h.GetAppend().GetValue() { //nolint:staticcheck // deprecated, and still in use
			o.Append = model.OverwriteOrAdd
		}
	}
	return o, nil
}
