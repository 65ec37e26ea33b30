package decode_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
)

func TestHeaderMatcher(t *testing.T) {
	cases := []struct {
		json    string
		kind    model.HeaderMatchKind
		match   model.MatchKind
		value   string
		wantErr string
	}{
		{json: `{"name": "Host", "exact_match": "a"}`, match: model.MatchExact, value: "a"},
		{json: `{"name": "x", "exact_match": ""}`, kind: model.HeaderPresent},
		{json: `{"name": "x"}`, kind: model.HeaderPresent},
		{json: `{"name": "x", "present_match": false}`, kind: model.HeaderPresent},
		{json: `{"name": "x", "prefix_match": "p"}`, match: model.MatchPrefix, value: "p"},
		{json: `{"name": "x", "suffix_match": "p"}`, match: model.MatchSuffix, value: "p"},
		{json: `{"name": "x", "contains_match": "p"}`, match: model.MatchContains, value: "p"},
		{json: `{"name": "x", "range_match": {"start": 1, "end": 3}}`, kind: model.HeaderRange},
		{json: `{"name": "x", "string_match": {"prefix": "PRE", "ignore_case": true}}`, match: model.MatchPrefix, value: "pre"},
		{json: `{"name": "x", "string_match": {"suffix": "S"}}`, match: model.MatchSuffix, value: "S"},
		{json: `{"name": "x", "string_match": {"contains": "S"}}`, match: model.MatchContains, value: "S"},
		{json: `{"name": "x", "string_match": {"exact": "S"}}`, match: model.MatchExact, value: "S"},
		{json: `{"name": "x", "safe_regex_match": {"regex": "a|b"}}`, match: model.MatchRegex, value: "a|b"},
		{json: `{"name": "x", "string_match": {"safe_regex": {"regex": "a)(b"}}}`, wantErr: "list[0].string_match.safe_regex.regex: "},
		{json: `{"name": "x", "safe_regex_match": {"regex": "("}}`, wantErr: "list[0].safe_regex_match.regex: "},
		{json: `{"name": "x", "string_match": {}}`, wantErr: "list[0].string_match.match_pattern: must be set"},
		{json: `{"name": "", "exact_match": "a"}`, wantErr: "list[0].name: must not be empty"},
	}
	for _, c := range cases {
		t.Run(c.json, func(t *testing.T) {
			m := &routev3.HeaderMatcher{}
			if err := protojson.Unmarshal([]byte(c.json), m); err != nil {
				t.Fatal(err)
			}
			got, err := decode.HeaderMatchers("list", []*routev3.HeaderMatcher{m})
			if c.wantErr != "" {
				if err == nil || !strings.HasPrefix(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want %s", err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			kind := c.kind
			if kind == model.HeaderPresent || kind == model.HeaderRange {
				if got[0].Kind != kind {
					t.Errorf("kind %v, want %v", got[0].Kind, kind)
				}
				return
			}
			if got[0].Kind != model.HeaderString || got[0].String.Kind != c.match || got[0].String.Value != c.value {
				t.Errorf("got %+v", got[0])
			}
		})
	}
}

func TestHeaderOption(t *testing.T) {
	cases := []struct {
		json    string
		want    model.HeaderOption
		wantErr string
	}{
		{json: `{"header": {"key": "a", "value": "b"}}`, want: model.HeaderOption{Name: "a", Value: "b"}},
		{json: `{"header": {"key": "a", "raw_value": "Yg=="}, "keep_empty_value": true}`, want: model.HeaderOption{Name: "a", Value: "b", KeepEmpty: true}},
		{json: `{"header": {"key": "a"}, "append": false}`, want: model.HeaderOption{Name: "a", Append: model.OverwriteOrAdd}},
		{json: `{"header": {"key": "a"}, "append_action": "ADD_IF_ABSENT"}`, want: model.HeaderOption{Name: "a", Append: model.AddIfAbsent}},
		{json: `{"header": {"key": "a"}, "append_action": "OVERWRITE_IF_EXISTS"}`, want: model.HeaderOption{Name: "a", Append: model.OverwriteIfExists}},
		{json: `{"header": {"key": "a"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}`, want: model.HeaderOption{Name: "a", Append: model.OverwriteOrAdd}},
		{json: `{"header": {"key": "a"}, "append": true, "append_action": "ADD_IF_ABSENT"}`, wantErr: "both append and append_action are set and it's not allowed"},
		{json: `{"header": {"value": "a"}}`, wantErr: "header.key: must not be empty"},
	}
	for _, c := range cases {
		t.Run(c.json, func(t *testing.T) {
			m := &corev3.HeaderValueOption{}
			if err := protojson.Unmarshal([]byte(c.json), m); err != nil {
				t.Fatal(err)
			}
			got, err := decode.HeaderOption(m)
			if c.wantErr != "" {
				if err == nil || err.Error() != c.wantErr {
					t.Fatalf("error %v, want %s", err, c.wantErr)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}
