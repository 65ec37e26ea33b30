package headermutation

import (
	"errors"
	"fmt"
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/format"
	"github.com/weir-proxy/weir/pkg/proxy/filter/headers"
)

// Factory describes the filter: envoy.filters.http.header_mutation, which is an upstream filter as well.
func Factory() extension.Factory {
	const pkg, core = "envoy.extensions.filters.http.header_mutation.v3.", "envoy.config.core.v3."
	const rules = "envoy.config.common.mutation_rules.v3."
	return extension.Factory{
		Category:       extension.HTTPFilters,
		AlsoIn:         []string{extension.UpstreamHTTPFilters},
		Name:           "envoy.filters.http.header_mutation",
		Config:         &filterv3.HeaderMutation{},
		Decode:         func(m proto.Message) (any, error) { return decodeConfig(m.(*filterv3.HeaderMutation)) },
		PerRoute:       &filterv3.HeaderMutationPerRoute{},
		DecodePerRoute: func(m proto.Message) (any, error) { return decodePerRoute(m.(*filterv3.HeaderMutationPerRoute)) },
		Support: map[string]extension.Fields{
			pkg + "HeaderMutation":         {"mutations": {}, "most_specific_header_mutations_wins": {}},
			pkg + "HeaderMutationPerRoute": {"mutations": {}},
			pkg + "Mutations": {
				"request_mutations": {}, "query_parameter_mutations": {}, "response_mutations": {},
				"response_trailers_mutations": {}, "request_trailers_mutations": {},
			},
			rules + "HeaderMutation":               {"remove": {}, "append": {}, "remove_on_match": {}},
			rules + "HeaderMutation.RemoveOnMatch": {"key_matcher": {}},
			core + "HeaderValueOption":             {"header": {}, "append": {}, "append_action": {}, "keep_empty_value": {}},
			core + "HeaderValue":                   {"key": {}, "value": {}, "raw_value": {}},
			core + "KeyValueMutation":              {"append": {}, "remove": {}},
			core + "KeyValueAppend":                {"record": {}, "action": {}},
			core + "KeyValuePair":                  {"key": {}, "value": {}},
		},
	}
}

func decodeConfig(m *filterv3.HeaderMutation) (*Config, error) {
	own, err := decodeMutations(m.GetMutations())
	if err != nil {
		return nil, err
	}
	return &Config{mutations: *own, mostSpecificWins: m.GetMostSpecificHeaderMutationsWins()}, nil
}

func decodePerRoute(m *filterv3.HeaderMutationPerRoute) (*PerRoute, error) {
	own, err := decodeMutations(m.GetMutations())
	if err != nil {
		return nil, err
	}
	return &PerRoute{*own}, nil
}

func decodeMutations(m *filterv3.Mutations) (*mutations, error) {
	out := &mutations{}
	var errs []error
	for _, l := range []struct {
		name string
		from []*mutationv3.HeaderMutation
		to   *headers.Mutations
	}{
		{"request_mutations", m.GetRequestMutations(), &out.request},
		{"response_mutations", m.GetResponseMutations(), &out.response},
		{"request_trailers_mutations", m.GetRequestTrailersMutations(), &out.requestTrailers},
		{"response_trailers_mutations", m.GetResponseTrailersMutations(), &out.responseTrailers},
	} {
		for i, h := range l.from {
			one, err := decodeHeader(h)
			if err != nil {
				errs = append(errs, fmt.Errorf("mutations.%s[%d]: %w", l.name, i, err))
			}
			*l.to = slices.Concat(*l.to, one)
		}
	}
	for i, q := range m.GetQueryParameterMutations() {
		one, err := decodeQuery(q)
		if err != nil {
			errs = append(errs, fmt.Errorf("mutations.query_parameter_mutations[%d]: %w", i, err))
		}
		out.query = append(out.query, one)
	}
	return out, errors.Join(errs...)
}

func decodeHeader(m *mutationv3.HeaderMutation) (headers.Mutations, error) {
	switch a := m.GetAction().(type) {
	case *mutationv3.HeaderMutation_Remove:
		return headers.Remove(a.Remove)
	case *mutationv3.HeaderMutation_Append:
		o, err := decode.HeaderOption(a.Append)
		if err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
		return headers.Add(o)
	case *mutationv3.HeaderMutation_RemoveOnMatch_:
		k, err := decode.StringMatcher(a.RemoveOnMatch.GetKeyMatcher())
		if err != nil {
			return nil, fmt.Errorf("remove_on_match.key_matcher.%w", err)
		}
		return headers.RemoveMatching(k), nil
	}
	return nil, errors.New("action: must be set")
}

func decodeQuery(m *corev3.KeyValueMutation) (queryStep, error) {
	record := m.GetAppend().GetRecord()
	value, isText := record.GetValue().GetKind().(*structpb.Value_StringValue)
	switch {
	case m.GetAppend() == nil && m.GetRemove() == "":
		return queryStep{}, errors.New("one of append and remove must be set")
	case m.GetAppend() != nil && m.GetRemove() != "":
		return queryStep{}, errors.New("only one of append and remove can be set")
	case m.GetAppend() == nil:
		return queryStep{key: m.GetRemove(), remove: true}, nil
	case record == nil:
		return queryStep{}, errors.New("append.record: must be set")
	case record.GetKey() == "":
		return queryStep{}, errors.New("append.record.key: must not be empty")
	case !isText:
		return queryStep{}, errors.New("append.record.value: only a string is allowed")
	}
	f, err := format.Compile(value.StringValue, format.OmitEmpty())
	if err != nil {
		return queryStep{}, fmt.Errorf("append.record.value: %w", err)
	}
	out := queryStep{key: record.GetKey(), value: f}
	switch m.GetAppend().GetAction() {
	case corev3.KeyValueAppend_ADD_IF_ABSENT:
		out.action = model.AddIfAbsent
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS_OR_ADD:
		out.action = model.OverwriteOrAdd
	case corev3.KeyValueAppend_OVERWRITE_IF_EXISTS:
		out.action = model.OverwriteIfExists
	}
	return out, nil
}
