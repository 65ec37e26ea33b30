package headermutation

import (
	"io"
	"slices"
	"strings"
	"testing"

	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/observe/stats"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/filtertest"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func config(t *testing.T, json string) *Config {
	t.Helper()
	m := &filterv3.HeaderMutation{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	c, err := decodeConfig(m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func perRoute(t *testing.T, json string) *model.FilterOverride {
	t.Helper()
	m := &filterv3.HeaderMutationPerRoute{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	c, err := decodePerRoute(m)
	if err != nil {
		t.Fatal(err)
	}
	return &model.FilterOverride{Config: c}
}

func pairs(h *message.Headers) []string {
	out := []string{}
	for f := range h.All() {
		out = append(out, f.Name+"="+f.Value)
	}
	return out
}

func add(name, value, action string) string {
	return `{"append": {"header": {"key": "` + name + `", "value": "` + value + `"}, "append_action": "` + action + `"}}`
}

func TestHeadersAndTrailers(t *testing.T) {
	const everything = `{"mutations": {
		"request_mutations": [{"remove": "x-gone"}, {"remove_on_match": {"key_matcher": {"prefix": "x-drop-"}}},
			{"append": {"header": {"key": "x-method", "value": "%REQ(:METHOD)%"}}},
			{"append": {"header": {"key": "x-have", "value": "no"}, "append_action": "ADD_IF_ABSENT"}},
			{"append": {"header": {"key": "x-empty", "value": "%REQ(nothing)%"}}},
			{"append": {"header": {"key": "x-kept", "value": ""}, "keep_empty_value": true}}],
		"response_mutations": [{"append": {"header": {"key": "x-status", "value": "%RESPONSE_CODE%"}}},
			{"append": {"header": {"key": "server", "value": "none"}, "append_action": "OVERWRITE_IF_EXISTS"}},
			{"append": {"header": {"key": "absent", "value": "none"}, "append_action": "OVERWRITE_IF_EXISTS"}}],
		"request_trailers_mutations": [{"append": {"header": {"key": "x-t", "value": "%REQ(:PATH)%"}}}],
		"response_trailers_mutations": [{"remove": "secret"}]}}`
	f, err := config(t, everything).NewHTTP(filtertest.Deps(stats.NewStore(), "hm"))
	if err != nil {
		t.Fatal(err)
	}
	up := filtertest.Headers("checksum", "1")
	down := filtertest.Headers("secret", "1", "grpc-status", "0")
	req := &message.Request{Method: "PUT", Path: "/p", Body: filtertest.Body(&up, "body"), Headers: filtertest.Headers(
		"x-gone", "1", "X-Drop-A", "1", "a", "b", "x-drop-b", "2", "x-have", "yes")}
	run := filtertest.New(t, req, func(s *filter.Stream) (*message.Response, error) {
		if _, err := io.ReadAll(s.Request.Body); err != nil {
			return nil, err
		}
		s.Response.Reset()
		s.Response.Status, s.Response.Headers = 201, filtertest.Headers("server", "up")
		s.Info.ResponseCode = 201
		s.Response.Body = filtertest.Body(&down, "answer")
		return s.Response, nil
	})
	resp, err := run.Through(f)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a=b", "x-have=yes", "x-method=PUT", "x-kept="}, pairs(&req.Headers)); d != "" {
		t.Errorf("request: %s", d)
	}
	if d := cmp.Diff([]string{"checksum=1", "x-t=/p"}, pairs(req.Body.Trailers())); d != "" {
		t.Errorf("request trailers: %s", d)
	}
	if d := cmp.Diff([]string{"server=none", "x-status=201"}, pairs(&resp.Headers)); d != "" {
		t.Errorf("response: %s", d)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "answer" {
		t.Fatalf("%q, %v", b, err)
	}
	if d := cmp.Diff([]string{"grpc-status=0"}, pairs(resp.Body.Trailers())); d != "" {
		t.Errorf("response trailers: %s", d)
	}
}

func TestLevels(t *testing.T) {
	level := func(name string) string {
		return `{"mutations": {"request_mutations": [` + add("who", name, "OVERWRITE_IF_EXISTS_OR_ADD") + `, ` + add("all", name, "APPEND_IF_EXISTS_OR_ADD") + `]}}`
	}
	for _, c := range []struct {
		wins string
		want []string
	}{
		{"false", []string{"who=table", "all=own", "all=weighted", "all=route", "all=host", "all=table"}},
		{"true", []string{"who=weighted", "all=own", "all=table", "all=host", "all=route", "all=weighted"}},
	} {
		own := strings.TrimSuffix(level("own"), "}") + `, "most_specific_header_mutations_wins": ` + c.wins + `}`
		f, err := config(t, own).NewHTTP(filtertest.Deps(stats.NewStore(), "hm"))
		if err != nil {
			t.Fatal(err)
		}
		req := &message.Request{Method: "GET", Path: "/"}
		run := filtertest.New(t, req, nil)
		at := func(name string) map[string]*model.FilterOverride {
			return map[string]*model.FilterOverride{"hm": perRoute(t, level(name)), "other": perRoute(t, level("other"))}
		}
		run.Chosen.Config.PerFilter, run.Chosen.VirtualHost.PerFilter = at("table"), at("host")
		run.Chosen.Route.PerFilter, run.Chosen.Weighted = at("route"), &model.WeightedCluster{PerFilter: at("weighted")}
		if _, err := run.Through(f); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, pairs(&req.Headers)); d != "" {
			t.Errorf("wins %s: %s", c.wins, d)
		}
	}
}

func TestQuery(t *testing.T) {
	set := func(key, value, action string) string {
		return `{"append": {"record": {"key": "` + key + `", "value": "` + value + `"}, "action": "` + action + `"}}`
	}
	cases := []struct {
		name, path, steps, want string
	}{
		{"append to none", "/p", set("a", "1", "APPEND_IF_EXISTS_OR_ADD"), "/p?a=1"},
		{"append to one", "/p?a=0&b=%20", set("a", "1", "APPEND_IF_EXISTS_OR_ADD"), "/p?a=0&b=%20&a=1"},
		{"absent only", "/p?a=0", set("a", "1", "ADD_IF_ABSENT") + "," + set("b", "2", "ADD_IF_ABSENT"), "/p?a=0&b=2"},
		{"overwrite", "/p?a=0&c=1&a=2", set("a", "1", "OVERWRITE_IF_EXISTS_OR_ADD"), "/p?a=1&c=1"},
		{"overwrite or add", "/p?c", set("a", "1", "OVERWRITE_IF_EXISTS_OR_ADD"), "/p?c&a=1"},
		{"overwrite what exists", "/p?c", set("a", "1", "OVERWRITE_IF_EXISTS"), "/p?c"},
		{"remove", "/p?a=0&c&a", `{"remove": "a"}`, "/p?c"},
		{"remove the last", "/p?a", `{"remove": "a"}`, "/p"},
		{"from a header", "/p", set("who", "%REQ(x-user)%", "APPEND_IF_EXISTS_OR_ADD"), "/p?who=a%26b%20c%23%0D%25"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f, err := config(t, `{"mutations": {"query_parameter_mutations": [`+c.steps+`]}}`).NewHTTP(filtertest.Deps(stats.NewStore(), "hm"))
			if err != nil {
				t.Fatal(err)
			}
			req := &message.Request{Method: "GET", Path: c.path, Headers: filtertest.Headers("x-user", "a&b c#\r%25")}
			if _, err := filtertest.New(t, req, nil).Through(f); err != nil {
				t.Fatal(err)
			}
			if req.Path != c.want {
				t.Errorf("path %q, want %q", req.Path, c.want)
			}
		})
	}
}

func TestBadMutations(t *testing.T) {
	cases := map[string]string{
		`{"request_mutations": [{"remove": ":path"}]}`:                                                       "mutations.request_mutations[0]: ",
		`{"response_mutations": [{}]}`:                                                                       "mutations.response_mutations[0]: action: must be set",
		`{"response_mutations": [` + add("a", "%NOPE%", "ADD_IF_ABSENT") + `]}`:                              "mutations.response_mutations[0]: ",
		`{"request_mutations": [` + add("host", "x", "ADD_IF_ABSENT") + `]}`:                                 "mutations.request_mutations[0]: ",
		`{"request_mutations": [{"remove_on_match": {"key_matcher": {"safe_regex": {"regex":"("}}}}]}`:       "mutations.request_mutations[0]: remove_on_match.key_matcher.safe_regex.regex: ",
		`{"query_parameter_mutations": [{}]}`:                                                                "mutations.query_parameter_mutations[0]: one of append and remove must be set",
		`{"query_parameter_mutations": [{"remove": "a", "append": {"record": {"key": "a", "value": "b"}}}]}`: "mutations.query_parameter_mutations[0]: only one of append and remove can be set",
		`{"query_parameter_mutations": [{"append": {}}]}`:                                                    "mutations.query_parameter_mutations[0]: append.record: must be set",
		`{"query_parameter_mutations": [{"append": {"record": {"key": "a", "value": 1}}}]}`:                  "mutations.query_parameter_mutations[0]: append.record.value: only a string is allowed",
	}
	for json, want := range cases {
		m := &filterv3.Mutations{}
		if err := protojson.Unmarshal([]byte(json), m); err != nil {
			t.Fatal(json, err)
		}
		if _, err := decodeMutations(m); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", json, err, want)
		}
	}
}

// FuzzChangeQuery checks that parameters that are not concerned stay as they were, and that values cannot make others.
func FuzzChangeQuery(f *testing.F) {
	f.Add("/p?a=1&b=2&a=3", "a", "x&y=1")
	f.Add("/", "k", " \r\n#")
	f.Fuzz(func(t *testing.T, path, key, value string) {
		if key == "" || strings.ContainsAny(key, "&=?%") || strings.ContainsAny(value, "%") {
			t.Skip()
		}
		cfg := config(t, `{"mutations": {"query_parameter_mutations": [{"append": {"record": {"key": "k", "value": "%REQ(v)%"}, "action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}}`)
		cfg.query[0].key = key
		filt, err := cfg.NewHTTP(filtertest.Deps(stats.NewStore(), "hm"))
		if err != nil {
			t.Fatal(err)
		}
		req := &message.Request{Method: "GET", Path: path, Headers: filtertest.Headers("v", value)}
		before, query, _ := strings.Cut(path, "?")
		if _, err := filtertest.New(t, req, nil).Through(filt); err != nil {
			t.Fatal(err)
		}
		after, changed, _ := strings.Cut(req.Path, "?")
		if before != after {
			t.Fatalf("path %q became %q", path, req.Path)
		}
		others := func(q string) []string {
			return slices.DeleteFunc(strings.Split(q, "&"), func(p string) bool { k, _, _ := strings.Cut(p, "="); return k == key || q == "" })
		}
		if d := cmp.Diff(others(query), others(changed)); d != "" {
			t.Fatalf("%q became %q: %s", path, req.Path, d)
		}
	})
}
