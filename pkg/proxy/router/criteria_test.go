package router_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func is(v string) model.StringMatcher { return model.StringMatcher{Kind: model.MatchExact, Value: v} }

// takes tells whether a virtual host with one route of this match, behind which nothing is, takes the request.
func takes(t *testing.T, m model.RouteMatch, req *message.Request, info *streaminfo.Info) bool {
	t.Helper()
	c := hosts("*")
	c.VirtualHosts[0].Routes = []*model.Route{to("c", m)}
	return compile(t, c).Match(req, info, 0).Route != nil
}

func TestHeaderMatchers(t *testing.T) {
	for name, tc := range map[string]struct {
		m       model.HeaderMatcher
		yes, no []*message.Request
	}{
		"several values are one": {
			model.HeaderMatcher{Name: "x", String: is("a,b")},
			[]*message.Request{request("a", "/", "x: a", "x: b")},
			[]*message.Request{request("a", "/", "x: a"), request("a", "/", "x: b", "x: a")},
		},
		"cookies are joined by semicolons": {
			model.HeaderMatcher{Name: "cookie", String: is("a=1; b=2")}, []*message.Request{request("a", "/", "cookie: a=1", "cookie: b=2")}, nil,
		},
		"inverted value needs the header": {
			model.HeaderMatcher{Name: "x", String: is("a"), Invert: true},
			[]*message.Request{request("a", "/", "x: b")},
			[]*message.Request{request("a", "/"), request("a", "/", "x: a")},
		},
		"missing as empty, inverted": {
			model.HeaderMatcher{Name: "x", String: is("a"), Invert: true, MissingAsEmpty: true},
			[]*message.Request{request("a", "/", "x: b"), request("a", "/")},
			[]*message.Request{request("a", "/", "x: a")},
		},
		"missing as empty": {
			model.HeaderMatcher{Name: "x", String: is(""), MissingAsEmpty: true},
			[]*message.Request{request("a", "/", "x: "), request("a", "/")},
			[]*message.Request{request("a", "/", "x: a")},
		},
		"present, inverted": {
			model.HeaderMatcher{Name: "x", Kind: model.HeaderPresent, Present: true, Invert: true},
			[]*message.Request{request("a", "/")},
			[]*message.Request{request("a", "/", "x: ")},
		},
		"absent": {
			model.HeaderMatcher{Name: "x", Kind: model.HeaderPresent},
			[]*message.Request{request("a", "/")},
			[]*message.Request{request("a", "/", "x: 1")},
		},
		"range": {
			model.HeaderMatcher{Name: "x", Kind: model.HeaderRange, Start: -5, End: 5},
			[]*message.Request{request("a", "/", "x: -5"), request("a", "/", "x: 4")},
			[]*message.Request{request("a", "/", "x: 5"), request("a", "/", "x: -6"), request("a", "/", "x: 1.0"), request("a", "/", "x: "), request("a", "/")},
		},
		"range, inverted": {
			model.HeaderMatcher{Name: "x", Kind: model.HeaderRange, Start: 1, End: 2, Invert: true},
			[]*message.Request{request("a", "/", "x: 2"), request("a", "/", "x: word")},
			[]*message.Request{request("a", "/", "x: 1"), request("a", "/")},
		},
		"pseudo header": {
			model.HeaderMatcher{Name: ":authority", String: is("a")}, []*message.Request{request("a", "/")}, []*message.Request{request("b", "/")},
		},
		"contains without case": {
			model.HeaderMatcher{Name: "x", String: model.StringMatcher{Kind: model.MatchContains, Value: "mid", IgnoreCase: true}},
			[]*message.Request{request("a", "/", "x: aMIDb")},
			[]*message.Request{request("a", "/", "x: mi")},
		},
		"suffix": {
			model.HeaderMatcher{Name: "x", String: model.StringMatcher{Kind: model.MatchSuffix, Value: "end"}},
			[]*message.Request{request("a", "/", "x: the end"), request("a", "/", "x: end")},
			[]*message.Request{request("a", "/", "x: End"), request("a", "/", "x: nd")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{tc.m}}
			for _, r := range tc.yes {
				if !takes(t, m, r, nil) {
					t.Errorf("does not match %v", r.Headers)
				}
			}
			for _, r := range tc.no {
				if takes(t, m, r, nil) {
					t.Errorf("matches %v", r.Headers)
				}
			}
		})
	}
}

func TestCookies(t *testing.T) {
	req := func(cookies ...string) *message.Request {
		r := request("a", "/")
		for _, c := range cookies {
			r.Headers.Add("cookie", c)
		}
		return r
	}
	for name, tc := range map[string]struct {
		m    model.CookieMatcher
		req  *message.Request
		want bool
	}{
		"second of a line":      {model.CookieMatcher{Name: "b", String: is("2")}, req("a=1; b=2"), true},
		"in another line":       {model.CookieMatcher{Name: "b", String: is("2")}, req("a=1", "b=2"), true},
		"quoted":                {model.CookieMatcher{Name: "b", String: is("2")}, req(`b="2"`), true},
		"the first one counts":  {model.CookieMatcher{Name: "b", String: is("2")}, req("b=1; b=2"), false},
		"names are as they are": {model.CookieMatcher{Name: "b", String: is("2")}, req("B=2"), false},
		"value with =":          {model.CookieMatcher{Name: "b", String: is("x=y")}, req("b=x=y"), true},
		"missing":               {model.CookieMatcher{Name: "b", String: is("")}, req("a=1"), false},
		"missing, inverted":     {model.CookieMatcher{Name: "b", String: is("2"), Invert: true}, req("a=1"), true},
		"inverted":              {model.CookieMatcher{Name: "b", String: is("2"), Invert: true}, req("b=2"), false},
		"no value":              {model.CookieMatcher{Name: "b", String: is("")}, req("b"), false},
	} {
		if got := takes(t, model.RouteMatch{Path: "/", Cookies: []model.CookieMatcher{tc.m}}, tc.req, nil); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	plain := &streaminfo.Info{Conn: &streaminfo.Connection{}}
	anonymous := &streaminfo.Info{Conn: &streaminfo.Connection{TLS: &tls.ConnectionState{}, PeerValidated: true}}
	known := func(validated bool) *streaminfo.Info {
		return &streaminfo.Info{Conn: &streaminfo.Connection{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, PeerValidated: validated}}
	}
	yes, no := new(true), new(false)
	for name, tc := range map[string]struct {
		m    model.TLSMatch
		info *streaminfo.Info
		want bool
	}{
		"nothing asked":                  {model.TLSMatch{}, plain, true},
		"presented, plain":               {model.TLSMatch{Presented: yes}, plain, false},
		"not presented, plain":           {model.TLSMatch{Presented: no}, plain, true},
		"not presented, unknown":         {model.TLSMatch{Presented: no}, nil, true},
		"presented, anonymous":           {model.TLSMatch{Presented: yes}, anonymous, false},
		"presented":                      {model.TLSMatch{Presented: yes}, known(false), true},
		"validated":                      {model.TLSMatch{Presented: yes, Validated: yes}, known(true), true},
		"validated, but it is not":       {model.TLSMatch{Validated: yes}, known(false), false},
		"not validated, but it is":       {model.TLSMatch{Validated: no}, known(true), false},
		"not validated, without any":     {model.TLSMatch{Validated: no}, anonymous, true},
		"presented and not validated":    {model.TLSMatch{Presented: yes, Validated: no}, known(false), true},
		"validated, but nothing to show": {model.TLSMatch{Validated: yes}, anonymous, false},
	} {
		if got := takes(t, model.RouteMatch{Path: "/", TLS: &tc.m}, request("a", "/"), tc.info); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMetadataAndFilterState(t *testing.T) {
	info := &streaminfo.Info{
		Dynamic: map[string]map[string]any{"jwt": {
			"sub": "me", "n": 1.5, "admin": true, "none": nil, "groups": []any{"a", "b"}, "deep": map[string]any{"x": "y"},
		}},
		FilterState: map[string]any{"user": "me", "ip": netip.MustParseAddr("10.1.2.3")},
	}
	value := func(v model.ValueMatcher, path ...string) model.MetadataMatcher {
		return model.MetadataMatcher{Filter: "jwt", Path: path, Value: v}
	}
	text := model.ValueMatcher{Kind: model.ValueString, String: is("me")}
	inverted := value(text, "sub")
	inverted.Invert = true
	invertedAbsent := value(text, "absent")
	invertedAbsent.Invert = true
	for name, tc := range map[string]struct {
		m    model.MetadataMatcher
		want bool
	}{
		"text":              {value(text, "sub"), true},
		"inverted":          {inverted, false},
		"inverted absent":   {invertedAbsent, true},
		"other type":        {value(text, "n"), false},
		"absent":            {value(text, "absent"), false},
		"other filter":      {model.MetadataMatcher{Filter: "x", Path: []string{"sub"}, Value: text}, false},
		"deep":              {value(model.ValueMatcher{Kind: model.ValueString, String: is("y")}, "deep", "x"), true},
		"through text":      {value(text, "sub", "x"), false},
		"number":            {value(model.ValueMatcher{Kind: model.ValueNumber, Start: 1.5}, "n"), true},
		"range start":       {value(model.ValueMatcher{Kind: model.ValueRange, Start: 1.5, End: 2}, "n"), true},
		"range end":         {value(model.ValueMatcher{Kind: model.ValueRange, Start: 1, End: 1.5}, "n"), false},
		"bool":              {value(model.ValueMatcher{Kind: model.ValueBool, Bool: true}, "admin"), true},
		"null":              {value(model.ValueMatcher{Kind: model.ValueNull}, "none"), true},
		"null is not there": {value(model.ValueMatcher{Kind: model.ValueNull}, "absent"), false},
		"present":           {value(model.ValueMatcher{Kind: model.ValuePresent, Bool: true}, "n"), true},
		"present list":      {value(model.ValueMatcher{Kind: model.ValuePresent, Bool: true}, "groups"), false},
		"list":              {value(model.ValueMatcher{Kind: model.ValueList, Any: []model.ValueMatcher{{Kind: model.ValueString, String: is("b")}}}, "groups"), true},
		"list without it":   {value(model.ValueMatcher{Kind: model.ValueList, Any: []model.ValueMatcher{{Kind: model.ValueString, String: is("c")}}}, "groups"), false},
		"or":                {value(model.ValueMatcher{Kind: model.ValueOr, Any: []model.ValueMatcher{{Kind: model.ValueNull}, text}}, "sub"), true},
	} {
		if got := takes(t, model.RouteMatch{Path: "/", Metadata: []model.MetadataMatcher{tc.m}}, request("a", "/"), info); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	ten := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, tc := range map[string]struct {
		m    model.FilterStateMatcher
		want bool
	}{
		"text":             {model.FilterStateMatcher{Key: "user", String: is("me")}, true},
		"absent":           {model.FilterStateMatcher{Key: "other", String: is("")}, false},
		"stringer":         {model.FilterStateMatcher{Key: "ip", String: is("10.1.2.3")}, true},
		"address":          {model.FilterStateMatcher{Key: "ip", Prefixes: ten}, true},
		"address inverted": {model.FilterStateMatcher{Key: "ip", Prefixes: ten, InvertPrefixes: true}, false},
		"not an address":   {model.FilterStateMatcher{Key: "user", Prefixes: ten, InvertPrefixes: true}, false},
	} {
		if got := takes(t, model.RouteMatch{Path: "/", FilterState: []model.FilterStateMatcher{tc.m}}, request("a", "/"), info); got != tc.want {
			t.Errorf("filter state %s: %v", name, got)
		}
	}
}

func TestPathParameters(t *testing.T) {
	c := hosts("*")
	c.VirtualHosts[0].Routes = []*model.Route{to("exact", model.RouteMatch{Kind: model.PathExact, Path: "/a"}), to("rest", model.RouteMatch{Path: "/"})}
	for _, tc := range []struct {
		path   string
		ignore bool
		want   string
	}{{"/a;v=1", false, "rest"}, {"/a;v=1", true, "exact"}, {"/a;v=1?q", true, "exact"}, {"/a?q;v", true, "exact"}, {"/ab;v", true, "rest"}} {
		c.IgnorePathParameters = tc.ignore
		if got := compile(t, c).Match(request("h", tc.path), nil, 0).Cluster; got != tc.want {
			t.Errorf("%s, %v: %s", tc.path, tc.ignore, got)
		}
	}
}

func TestTemplateRewrite(t *testing.T) {
	c := hosts("*")
	r := to("c", model.RouteMatch{Kind: model.PathTemplate, Regex: regexp.MustCompile(`^(?:/v(?P<v>[^/]+)/(?P<rest>[^?]*))$`)})
	r.Action.TemplateRewrite = []model.TemplatePart{{Literal: "/"}, {Group: 2}, {Literal: "-"}, {Group: 1}}
	c.VirtualHosts[0].Routes = []*model.Route{r}
	req, _ := finalize(t, c, request("h", "/v2/a/b?q=1"))
	if req.Path != "/a/b-2?q=1" || req.Headers.Get(message.XEnvoyOriginalPath) != "/v2/a/b?q=1" {
		t.Errorf("path %s, original %s", req.Path, req.Headers.Get(message.XEnvoyOriginalPath))
	}
}

func TestWeightedVariants(t *testing.T) {
	c := hosts("*")
	r := to("", model.RouteMatch{Path: "/"})
	r.Action = &model.RouteAction{WeightedRuntime: "split", Weighted: []model.WeightedCluster{{Name: "a", Weight: 50}, {Header: "x-cluster", Weight: 50}}}
	c.VirtualHosts[0].Routes = []*model.Route{r}
	runtime := model.NewRuntime(nil)
	table, err := router.Compile(c, router.Options{Runtime: runtime})
	if err != nil {
		t.Fatal(err)
	}
	if got := table.Match(request("h", "/", "x-cluster: named"), nil, 70).Cluster; got != "named" {
		t.Errorf("by header: %q", got)
	}
	if got := table.Match(request("h", "/"), nil, 70); got.Cluster != "" || got.Route == nil {
		t.Errorf("without the header: %q", got.Cluster)
	}
	runtime.Set(model.RuntimeOf(map[string]uint64{"split.a": 0}).All())
	if got := table.Match(request("h", "/", "x-cluster: named"), nil, 20).Cluster; got != "named" {
		t.Errorf("weight 0 by runtime: %q", got)
	}
	runtime.Set(model.RuntimeOf(map[string]uint64{"split.a": 0, "split.": 0}).All())
	if got := table.Match(request("h", "/"), nil, 20).Cluster; got != "a" {
		t.Errorf("no weights at all: %q", got)
	}
}

func TestWeightedByHash(t *testing.T) {
	c := hosts("*")
	r := to("", model.RouteMatch{Path: "/"})
	r.Action = &model.RouteAction{
		WeightedByHash: true, HashPolicy: []model.HashPolicy{{Header: "x-user"}, {SourceIP: true}},
		Weighted: []model.WeightedCluster{{Name: "a", Weight: 50}, {Name: "b", Weight: 50}},
	}
	c.VirtualHosts[0].Routes = []*model.Route{r}
	table := compile(t, c)
	seen := map[string]bool{}
	for i := range 40 {
		req := request("h", "/", fmt.Sprint("x-user: u", i))
		first := table.Match(req, nil, 1).Cluster
		for random := range uint64(100) {
			if got := table.Match(req, nil, random).Cluster; got != first {
				t.Fatalf("user %d: %s and %s", i, first, got)
			}
		}
		seen[first] = true
	}
	if len(seen) != 2 {
		t.Errorf("all users go to %v", seen)
	}
	if a, b := table.Match(request("h", "/"), nil, 10).Cluster, table.Match(request("h", "/"), nil, 60).Cluster; a != "a" || b != "b" {
		t.Errorf("without a hash: %s, %s", a, b)
	}
	info := &streaminfo.Info{Client: netip.MustParseAddrPort("192.0.2.1:0")}
	if a, b := table.Match(request("h", "/"), info, 10).Cluster, table.Match(request("h", "/"), info, 60).Cluster; a != b {
		t.Errorf("one address: %s, %s", a, b)
	}
}

// TestMutationOrder holds what Envoy does in the steps of one level: remove, render everything, replace, add.
func TestMutationOrder(t *testing.T) {
	c := hosts("*")
	c.VirtualHosts[0].Routes[0].Headers = model.HeaderMutations{
		RequestRemove: []string{"X-Removed"},
		RequestAdd: []model.HeaderOption{
			{Name: "x-a", Value: "added"},
			{Name: "x-seen", Value: "%REQ(x-a)%/%REQ(x-removed)%", KeepEmpty: true},
			{Name: "x-once", Value: "1", Append: model.AddIfAbsent},
			{Name: "x-once", Value: "2", Append: model.AddIfAbsent},
			{Name: "x-a", Value: "replaced", Append: model.OverwriteIfExists},
		},
	}
	req, _ := finalize(t, c, request("h", "/", "x-a: original", "x-removed: gone"))
	got := map[string]string{}
	for _, name := range []string{"x-a", "x-seen", "x-once", "x-removed"} {
		got[name], _ = req.Headers.Joined(name)
	}
	want := map[string]string{"x-a": "replaced,added", "x-seen": "original/", "x-once": "1,2", "x-removed": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMutationsDoNotAllocate(t *testing.T) {
	c := hosts("*")
	c.Headers = model.HeaderMutations{RequestRemove: []string{"x-secret"}, ResponseAdd: []model.HeaderOption{{Name: "x-by", Value: "weir"}}}
	c.VirtualHosts[0].Headers = model.HeaderMutations{RequestAdd: []model.HeaderOption{{Name: "x-path", Value: "%REQ(:path)%", Append: model.OverwriteOrAdd}}}
	req, resp := request("h", "/"), &message.Response{Status: 200}
	s := &filter.Stream{Request: req, Info: &streaminfo.Info{}}
	s.Format.Info, s.Format.Request = s.Info, req
	rt := compile(t, c).Match(req, nil, 0)
	if n := testing.AllocsPerRun(100, func() {
		s.Arena.Reset()
		resp.Headers.Reset()
		rt.Rules.FinalizeRequest(s, &rt, false)
		rt.Rules.FinalizeResponse(s, &rt, resp)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHostsDoNotAllocate(t *testing.T) {
	table := compile(t, hosts("a.com", "*.wildcard-domain-of-some-length.example.com", "prefix-of-some-length-that-is-not-short.*", "*"))
	for _, host := range []string{
		"A.com", "a.com", "Some.Name.Below.wildcard-domain-of-some-length.example.com", "x.wildcard-domain-of-some-length.example.com",
		"PREFIX-of-some-length-that-is-not-short.example.com", "other.example.com",
	} {
		req := request(host, "/")
		if table.Match(req, nil, 0).Route == nil {
			t.Errorf("%s: no route", host)
		}
		if n := testing.AllocsPerRun(20, func() { table.Match(req, nil, 0) }); n != 0 {
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}
