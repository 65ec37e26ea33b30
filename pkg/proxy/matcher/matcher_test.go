package matcher

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// decodeJSON compiles a tree whose actions are texts.
func decodeJSON(text string) (*Tree, error) {
	registry, err := extension.NewRegistry(Factories()...)
	if err != nil {
		return nil, err
	}
	m := &xdsmatcherv3.Matcher{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		return nil, err
	}
	return Decode(m, RegistryReader(registry, func(e *xdscorev3.TypedExtensionConfig, _ string) (any, error) {
		s := &wrapperspb.StringValue{}
		err := e.GetTypedConfig().UnmarshalTo(s)
		return s.GetValue(), err
	}))
}

// expand writes the parts of trees that tests repeat.
func expand(s string) string {
	const typed = `{"name": "x", "typed_config": {"@type": "type.googleapis.com/`
	return strings.NewReplacer(
		"HEADER(", typed+`envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": "`,
		"QUERY(", typed+`envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", "query_param": "`,
		"ACTION(", `{"action": `+typed+`google.protobuf.StringValue", "value": "`,
		")A", `"}}}`, ")", `"}}`,
		"SOURCE_IP", typed+`envoy.extensions.matching.common_inputs.network.v3.SourceIPInput"}}`,
		"IPMAP[", typed+`xds.type.matcher.v3.IPMatcher", "range_matchers": [`, "]I", "]}}",
		"DOMAINS[", typed+`xds.type.matcher.v3.ServerNameMatcher", "domain_matchers": [`,
	).Replace(s)
}

func TestTrees(t *testing.T) {
	const ips = `{"matcher_tree": {"input": SOURCE_IP, "custom_match": IPMAP[
		{"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "on_match": ACTION(ten)A},
		{"ranges": [{"address_prefix": "0.0.0.0"}], "exclusive": true, "on_match": ACTION(all)A},
		{"ranges": [{"address_prefix": "10.1.0.0", "prefix_len": 16}], "on_match": {"matcher": {"matcher_tree": {"input": HEADER(x), "exact_match_map": {"map": {"a": ACTION(deep)A}}}}}}
	]I}}`
	const domains = `{"matcher_tree": {"input": HEADER(x), "custom_match": DOMAINS[
		{"domains": ["a.com", "*.b.com"], "on_match": ACTION(one)A}, {"domains": ["*.c.b.com"], "on_match": ACTION(two)A}, {"domains": ["*"], "on_match": ACTION(any)A}
	]I}}`
	const list = `{"matcher_list": {"matchers": [
		{"predicate": {"single_predicate": {"input": HEADER(x), "value_match": {"prefix": "a"}}}, "on_match": {"matcher": {"matcher_tree": {"input": QUERY(q), "exact_match_map": {"map": {"1": ACTION(a1)A}}}}}},
		{"predicate": {"and_matcher": {"predicate": [
			{"not_matcher": {"single_predicate": {"input": HEADER(y), "value_match": {"exact": "1"}}}},
			{"or_matcher": {"predicate": [{"single_predicate": {"input": HEADER(x), "value_match": {"exact": "B", "ignore_case": true}}}, {"single_predicate": {"input": HEADER(x), "value_match": {"safe_regex": {"google_re2": {}, "regex": "c+"}}}}]}}
		]}}, "on_match": ACTION(b)A},
		{"predicate": {"single_predicate": {"input": HEADER(x), "value_match": {"prefix": "a"}}}, "on_match": ACTION(never)A}
	]}, "on_no_match": ACTION(none)A}`
	const prefixes = `{"matcher_tree": {"input": HEADER(:path), "prefix_match_map": {"map": {"/": ACTION(root)A, "/a": ACTION(a)A, "/abc": {"matcher": {"matcher_tree": {"input": HEADER(x), "exact_match_map": {"map": {"a": ACTION(deep)A}}}}}}}}, "on_no_match": ACTION(none)A}`
	for name, tc := range map[string]struct {
		tree, path, from string
		headers          []string
		want             string
	}{
		"list: first":                        {list, "/?q=1", "", []string{"x: abc"}, "a1"},
		"list: a miss below is final":        {list, "/?q=2", "", []string{"x: abc"}, ""},
		"list: and, or, not":                 {list, "/", "", []string{"x: b"}, "b"},
		"list: regex":                        {list, "/", "", []string{"x: ccc"}, "b"},
		"list: regex matches the whole":      {list, "/", "", []string{"x: ccd"}, "none"},
		"list: not":                          {list, "/", "", []string{"x: b", "y: 1"}, "none"},
		"list: missing header":               {list, "/", "", nil, "none"},
		"list: repeated header":              {list, "/", "", []string{"x: b", "x: b"}, "none"},
		"prefix: longest":                    {prefixes, "/ab", "", nil, "a"},
		"prefix: shortest":                   {prefixes, "/b", "", nil, "root"},
		"prefix: a miss below is final":      {prefixes, "/abcd", "", nil, ""},
		"prefix: below":                      {prefixes, "/abcd", "", []string{"x: a"}, "deep"},
		"prefix: none":                       {prefixes, "*", "", nil, "none"},
		"ip: longest":                        {ips, "/", "10.1.2.3", []string{"x: a"}, "deep"},
		"ip: a miss below goes on":           {ips, "/", "10.1.2.3", nil, "ten"},
		"ip: exclusive is for exact answers": {ips, "/", "192.0.2.1", nil, "all"},
		"ip: other family":                   {ips, "/", "2001:db8::1", nil, ""},
		"ip: mapped":                         {ips, "/", "::ffff:10.2.0.1", nil, "ten"},
		"ip: unknown":                        {ips, "/", "", nil, ""},
		"domain: exact":                      {domains, "/", "", []string{"x: A.com"}, "one"},
		"domain: wildcard":                   {domains, "/", "", []string{"x: q.b.com"}, "one"},
		"domain: longest":                    {domains, "/", "", []string{"x: q.c.b.com"}, "two"},
		"domain: several labels":             {domains, "/", "", []string{"x: r.q.c.b.com"}, "two"},
		"domain: itself is not below":        {domains, "/", "", []string{"x: b.com"}, "any"},
		"domain: no value":                   {domains, "/", "", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := decodeJSON(expand(tc.tree))
			if err != nil {
				t.Fatal(err)
			}
			d := &Data{Request: &message.Request{Method: "GET", Path: tc.path}, Info: &streaminfo.Info{Conn: &streaminfo.Connection{}}}
			for _, h := range tc.headers {
				k, v, _ := strings.Cut(h, ": ")
				d.Request.Headers.Add(k, v)
			}
			if tc.from != "" {
				d.Info.Conn.Remote = netip.AddrPortFrom(netip.MustParseAddr(tc.from), 1)
			}
			traced := 0
			d.Trace = func(string) { traced++ }
			got, ok := tree.Match(d)
			if text, _ := got.(string); text != tc.want || ok != (tc.want != "") {
				t.Errorf("%v, %v, want %q\n%s", got, ok, tc.want, tree)
			}
			if ok && traced == 0 {
				t.Error("nothing was traced")
			}
			d.Trace = nil
			if n := testing.AllocsPerRun(20, func() { tree.Match(d) }); n > 1 && len(tc.headers) < 2 { // addresses become text
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestInputs(t *testing.T) {
	uri, err := url.Parse("spiffe://a/b")
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{URIs: []*url.URL{uri}, DNSNames: []string{"a.com", "b.com"}, Subject: pkix.Name{CommonName: "me"}}
	full := &Data{
		Request:  &message.Request{Method: "GET", Authority: "h", Path: "/p?q=1#f", Body: message.NewString("")},
		Response: &message.Response{Status: 503},
		Info: &streaminfo.Info{
			FilterState: map[string]any{"k": "v"},
			Conn: &streaminfo.Connection{
				Local: netip.MustParseAddrPort("[::ffff:10.0.0.1]:80"), Remote: netip.MustParseAddrPort("127.0.0.1:99"),
				DirectRemote: netip.MustParseAddrPort("10.0.0.3:98"), ServerName: "sni", TransportProtocol: "tls", ALPN: []string{"h2", "http/1.1"},
				TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}},
			},
		},
	}
	full.Response.Headers.Add("X-R", "resp")
	const network, ssl, http = "envoy.extensions.matching.common_inputs.network.v3.", "envoy.extensions.matching.common_inputs.ssl.v3.", "envoy.type.matcher.v3."
	for input, want := range map[string]string{
		`"type.googleapis.com/` + network + `DestinationIPInput"`:                                    "10.0.0.1",
		`"type.googleapis.com/` + network + `DestinationPortInput"`:                                  "80",
		`"type.googleapis.com/` + network + `SourceIPInput"`:                                         "127.0.0.1",
		`"type.googleapis.com/` + network + `SourcePortInput"`:                                       "99",
		`"type.googleapis.com/` + network + `DirectSourceIPInput"`:                                   "10.0.0.3",
		`"type.googleapis.com/` + network + `SourceTypeInput"`:                                       "local",
		`"type.googleapis.com/` + network + `ServerNameInput"`:                                       "sni",
		`"type.googleapis.com/` + network + `TransportProtocolInput"`:                                "tls",
		`"type.googleapis.com/` + network + `ApplicationProtocolInput"`:                              "'h2','http/1.1'",
		`"type.googleapis.com/` + network + `FilterStateInput", "key": "k"`:                          "v",
		`"type.googleapis.com/` + ssl + `UriSanInput"`:                                               "spiffe://a/b",
		`"type.googleapis.com/` + ssl + `DnsSanInput"`:                                               "a.com,b.com",
		`"type.googleapis.com/` + ssl + `SubjectInput"`:                                              "CN=me",
		`"type.googleapis.com/` + http + `HttpRequestHeaderMatchInput", "header_name": ":Authority"`: "h",
		`"type.googleapis.com/` + http + `HttpRequestQueryParamMatchInput", "query_param": "q"`:      "1",
		`"type.googleapis.com/` + http + `HttpResponseHeaderMatchInput", "header_name": "x-r"`:       "resp",
		`"type.googleapis.com/` + http + `HttpResponseStatusCodeMatchInput"`:                         "503",
		`"type.googleapis.com/` + http + `HttpResponseStatusCodeClassMatchInput"`:                    "5xx",
	} {
		tree, err := decodeJSON(expand(`{"matcher_tree": {"input": {"name": "x", "typed_config": {"@type": ` + input + `}}, "exact_match_map": {"map": {"` + want + `": ACTION(ok)A}}}}`))
		if err != nil {
			t.Errorf("%s: %v", input, err)
			continue
		}
		if _, ok := tree.Match(full); !ok {
			t.Errorf("%s: %+v, want %q", input, tree.node.(*exactMap).input.Value(full), want)
		}
		if _, ok := tree.Match(&Data{}); ok {
			t.Errorf("%s: has a value of nothing", input)
		}
	}
}

func TestMatchersOfValues(t *testing.T) {
	const matchers = "type.googleapis.com/envoy.extensions.matching.input_matchers."
	md := `{"name": "x", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput", "filter": "f", "path": [{"key": "k"}]}}`
	d := &Data{
		Request: &message.Request{Path: "/"},
		Info: &streaminfo.Info{
			Conn:    &streaminfo.Connection{Remote: netip.MustParseAddrPort("10.0.0.1:1")},
			Dynamic: map[string]map[string]any{"f": {"k": nil}},
		},
		Runtime: model.RuntimeOf(map[string]uint64{"all": 100}),
	}
	d.Request.Headers.Add("x", "value")
	for name, tc := range map[string]struct {
		input, matcher string
		want           bool
	}{
		"ip":                     {"SOURCE_IP", `ip.v3.Ip", "stat_prefix": "x", "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]`, true},
		"ip of text":             {"HEADER(x)", `ip.v3.Ip", "stat_prefix": "x", "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]`, false},
		"metadata":               {md, `metadata.v3.Metadata", "value": {"null_match": {}}`, true},
		"metadata inverted":      {md, `metadata.v3.Metadata", "value": {"null_match": {}}, "invert": true`, false},
		"hash: all":              {"HEADER(x)", `consistent_hashing.v3.ConsistentHashing", "threshold": 0, "modulo": 10`, true},
		"hash: none":             {"HEADER(x)", `consistent_hashing.v3.ConsistentHashing", "threshold": 10, "modulo": 10`, false},
		"hash of nothing":        {"HEADER(none)", `consistent_hashing.v3.ConsistentHashing", "threshold": 0, "modulo": 10`, false},
		"fraction: none":         {"HEADER(x)", `runtime_fraction.v3.RuntimeFraction", "runtime_fraction": {"default_value": {"numerator": 0}}`, false},
		"fraction: all":          {"HEADER(x)", `runtime_fraction.v3.RuntimeFraction", "runtime_fraction": {"default_value": {"numerator": 100}}`, true},
		"fraction: all, runtime": {"HEADER(x)", `runtime_fraction.v3.RuntimeFraction", "runtime_fraction": {"default_value": {"numerator": 0}, "runtime_key": "all"}`, true},
	} {
		tree, err := decodeJSON(expand(`{"matcher_list": {"matchers": [{"predicate": {"single_predicate": {"input": ` + tc.input +
			`, "custom_match": {"name": "m", "typed_config": {"@type": "` + matchers + tc.matcher + `}}}}, "on_match": ACTION(ok)A}]}}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, ok := tree.Match(d); ok != tc.want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for tree, want := range map[string]string{
		`{}`:                                     "one of matcher_list, matcher_tree and on_no_match",
		`{"on_no_match": {}}`:                    "on_no_match: one of matcher and action must be set",
		`{"matcher_tree": {"input": HEADER()}}`:  "matcher_tree.input: header_name: must not be empty",
		`{"matcher_tree": {"input": HEADER(x)}}`: "tree_type: must be set",
		`{"matcher_tree": {"input": ` + `{"name": "n", "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "x"}}` + `, "exact_match_map": {}}}`: "unknown extension type",
		`{"matcher_tree": {"input": SOURCE_IP, "custom_match": IPMAP[{"ranges": [{"address_prefix": "10.x"}], "on_match": ACTION(a)A}]I}}`:                                        `custom_match.typed_config.range_matchers[0].ranges[0]: malformed IP address "10.x"`,
		`{"matcher_tree": {"input": HEADER(x), "custom_match": DOMAINS[{"domains": ["a.*.b"], "on_match": ACTION(a)A}]I}}`:                                                        `domains[0]: domain "a.*.b" must be`,
		`{"matcher_tree": {"input": HEADER(x), "custom_match": DOMAINS[{"domains": ["a", "A"], "on_match": ACTION(a)A}]I}}`:                                                       `domain "a" is there twice`,
		`{"matcher_tree": {"input": HEADER(x), "exact_match_map": {"map": {"k": {"keep_matching": true, "action": HEADER(x)}}}}}`:                                                 `exact_match_map.map["k"].on_match.keep_matching`,
	} {
		_, err := decodeJSON(expand(tree))
		want = strings.ReplaceAll(want, `].on_match.keep`, `].keep`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", tree, err, want)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	tree := `{"on_no_match": ACTION(a)A}`
	for range 40 {
		tree = `{"on_no_match": {"matcher": ` + tree + `}}`
	}
	if _, err := decodeJSON(expand(tree)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Error(err)
	}
	predicate := `{"single_predicate": {"input": HEADER(x), "value_match": {"exact": "a"}}}`
	for range 40 {
		predicate = `{"not_matcher": ` + predicate + `}`
	}
	if _, err := decodeJSON(expand(`{"matcher_list": {"matchers": [{"predicate": ` + predicate + `, "on_match": ACTION(a)A}]}}`)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(expand(`{"matcher_tree": {"input": HEADER(x), "exact_match_map": {"map": {"k": ACTION(a)A}}}}`))
	f.Add(expand(`{"matcher_list": {"matchers": [{"predicate": {"not_matcher": {"single_predicate": {"input": QUERY(q), "value_match": {"suffix": "z"}}}}, "on_match": ACTION(a)A}]}}`))
	f.Add(expand(`{"matcher_tree": {"input": SOURCE_IP, "custom_match": IPMAP[{"ranges": [{"address_prefix": "::"}], "on_match": ACTION(a)A}]I}}`))
	f.Fuzz(func(t *testing.T, s string) {
		tree, err := decodeJSON(s)
		if err != nil {
			return
		}
		d := &Data{Request: &message.Request{Path: "/?q=z"}, Info: &streaminfo.Info{Conn: &streaminfo.Connection{Remote: netip.MustParseAddrPort("[::1]:1")}}}
		d.Request.Headers.Add("x", "k")
		tree.Match(d)
		_ = tree.String()
	})
}
