package router_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/router"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

func compile(t testing.TB, c *model.RouteConfig) *router.Table {
	t.Helper()
	table, err := router.Compile(c, router.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func to(cluster string, m model.RouteMatch) *model.Route {
	return &model.Route{Name: cluster, Match: m, Action: &model.RouteAction{Cluster: cluster}}
}

func request(host, path string, headers ...string) *message.Request {
	r := &message.Request{Method: "GET", Scheme: "http", Authority: host, Path: path}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		r.Headers.Add(k, v)
	}
	return r
}

func hosts(domains ...string) *model.RouteConfig {
	c := &model.RouteConfig{}
	for _, d := range domains {
		c.VirtualHosts = append(c.VirtualHosts, &model.VirtualHost{Name: d, Domains: []string{d}, Routes: []*model.Route{to(d, model.RouteMatch{Path: "/"})}})
	}
	return c
}

func TestDomains(t *testing.T) {
	c := hosts("a.com", "*.a.com", "*-x.a.com", "*.b.a.com", "www.*", "www.a.*", "*", "[::1]:80")
	for _, tc := range []struct{ host, want string }{
		{"a.com", "a.com"},
		{"A.CoM", "a.com"},
		{"q.a.com", "*.a.com"},
		{"q.b.a.com", "*.b.a.com"},
		{"q-x.a.com", "*-x.a.com"},
		{"www.a.com", "*.a.com"}, // a suffix wins over a prefix
		{"www.z", "www.*"},
		{"www.a.z", "www.a.*"},
		{"www.", "*"},
		{".a.com", "*"},
		{"a.com:8080", "*"},
		{"other", "*"},
		{"[::1]:80", "[::1]:80"},
		{strings.Repeat("a", 2000), "*"},
	} {
		if got := compile(t, c).Match(request(tc.host, "/"), nil, 0).Cluster; got != tc.want {
			t.Errorf("%s: %q, want %q", tc.host, got, tc.want)
		}
	}
	c.IgnorePortInHost = true
	if got := compile(t, c).Match(request("a.com:8080", "/"), nil, 0).Cluster; got != "a.com" {
		t.Errorf("port is not ignored: %q", got)
	}
	if got := compile(t, hosts("a.com")).Match(request("b.com", "/"), nil, 0); got.VirtualHost != nil || got.Route != nil {
		t.Errorf("matched %v", got)
	}
}

func TestVirtualHostMissIsFinal(t *testing.T) {
	c := hosts("a.com", "*")
	c.VirtualHosts[0].Routes[0].Match.Path = "/only"
	if got := compile(t, c).Match(request("a.com", "/other"), nil, 0); got.Route != nil {
		t.Errorf("fell through to %q", got.Cluster)
	}
}

func TestMatchers(t *testing.T) {
	exact := func(v string) model.StringMatcher { return model.StringMatcher{Kind: model.MatchExact, Value: v} }
	for _, tc := range []struct {
		name  string
		match model.RouteMatch
		yes   []*message.Request
		no    []*message.Request
	}{
		{"prefix", model.RouteMatch{Path: "/foo"}, []*message.Request{request("a", "/foobar"), request("a", "/foo?x")}, []*message.Request{request("a", "/fo"), request("a", "/Foo")}},
		{"prefix ignores case", model.RouteMatch{Path: "/foo", IgnoreCase: true}, []*message.Request{request("a", "/FOO/x")}, nil},
		{
			"separated",
			model.RouteMatch{Kind: model.PathSeparatedPrefix, Path: "/foo"},
			[]*message.Request{request("a", "/foo"), request("a", "/foo/x"), request("a", "/foo?x")},
			[]*message.Request{request("a", "/foobar")},
		},
		{"exact", model.RouteMatch{Kind: model.PathExact, Path: "/foo"}, []*message.Request{request("a", "/foo?q")}, []*message.Request{request("a", "/foo/")}},
		{
			"regex",
			model.RouteMatch{Kind: model.PathRegex, Regex: regexp.MustCompile("^(?:/v[0-9]+)$")},
			[]*message.Request{request("a", "/v12?q")},
			[]*message.Request{request("a", "/v12/x"), request("a", "/x/v1")},
		},
		{"connect", model.RouteMatch{Kind: model.PathConnect}, []*message.Request{{Method: "CONNECT", Authority: "a"}}, []*message.Request{request("a", "/")}},
		{"prefix is not for connect", model.RouteMatch{Path: "/"}, nil, []*message.Request{{Method: "CONNECT", Authority: "a"}}},
		{
			"header",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x", String: exact("1")}}},
			[]*message.Request{request("a", "/", "X: 1")},
			[]*message.Request{request("a", "/"), request("a", "/", "x: 1", "x: 1")},
		},
		{
			"header inverted",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x", String: exact("1"), Invert: true}}},
			[]*message.Request{request("a", "/", "x: 2")},
			[]*message.Request{request("a", "/", "x: 1"), request("a", "/")},
		},
		{
			"header missing as empty",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x", String: exact("1"), Invert: true, MissingAsEmpty: true}}},
			[]*message.Request{request("a", "/")},
			nil,
		},
		{
			"header joined",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x", String: exact("1,2")}}},
			[]*message.Request{request("a", "/", "x: 1", "x: 2")},
			nil,
		},
		{
			"header absent",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x", Kind: model.HeaderPresent}}},
			[]*message.Request{request("a", "/")},
			[]*message.Request{request("a", "/", "x: ")},
		},
		{
			"header range",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: "x", Kind: model.HeaderRange, Start: -1, End: 5}}},
			[]*message.Request{request("a", "/", "x: -1"), request("a", "/", "x: 4")},
			[]*message.Request{request("a", "/", "x: 5"), request("a", "/", "x: y")},
		},
		{
			"method",
			model.RouteMatch{Path: "/", Headers: []model.HeaderMatcher{{Name: ":method", String: exact("GET")}}},
			[]*message.Request{request("a", "/")},
			[]*message.Request{{Method: "POST", Authority: "a", Path: "/"}},
		},
		{
			"query",
			model.RouteMatch{Path: "/", Query: []model.QueryMatcher{{Name: "k", String: exact("v")}, {Name: "p", Present: true}}},
			[]*message.Request{request("a", "/?p&k=v&k=w")},
			[]*message.Request{request("a", "/?k=w&k=v&p"), request("a", "/?k=v")},
		},
		{
			"grpc",
			model.RouteMatch{Path: "/", GRPC: true},
			[]*message.Request{request("a", "/", "content-type: application/grpc+proto")},
			[]*message.Request{request("a", "/", "content-type: application/grpc-web")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := hosts("*")
			c.VirtualHosts[0].Routes = []*model.Route{to("x", tc.match)}
			table := compile(t, c)
			for _, r := range tc.yes {
				if table.Match(r, nil, 0).Route == nil {
					t.Errorf("%s %s does not match", r.Method, r.Path)
				}
			}
			for _, r := range tc.no {
				if table.Match(r, nil, 0).Route != nil {
					t.Errorf("%s %s matches", r.Method, r.Path)
				}
			}
		})
	}
}

func TestFractionAndWeights(t *testing.T) {
	c := hosts("*")
	c.VirtualHosts[0].Routes = []*model.Route{
		to("canary", model.RouteMatch{Path: "/", Fraction: &model.Fraction{Numerator: 10, Denominator: 100}}),
		{Action: &model.RouteAction{WeightedHeader: "x-random", Weighted: []model.WeightedCluster{{Name: "none"}, {Name: "a", Weight: 30}, {Name: "b", Weight: 70}}}},
	}
	table := compile(t, c)
	for random, want := range map[uint64]string{9: "canary", 10: "a", 29: "a", 30: "b", 99: "b", 100: "canary", 129: "a"} {
		if got := table.Match(request("a", "/"), nil, random).Cluster; got != want {
			t.Errorf("random %d: %q, want %q", random, got, want)
		}
	}
	if got := table.Match(request("a", "/", "x-random: 5"), nil, 99).Cluster; got != "a" {
		t.Errorf("by header: %q", got)
	}
}

func TestFractionFromRuntime(t *testing.T) {
	c := hosts("*")
	c.VirtualHosts[0].Routes = []*model.Route{
		to("canary", model.RouteMatch{Path: "/", Fraction: &model.Fraction{Numerator: 10, Denominator: 100, RuntimeKey: "share"}}),
		to("stable", model.RouteMatch{Path: "/"}),
	}
	for _, tc := range []struct {
		name   string
		value  uint64
		set    bool
		random uint64
		want   string
	}{
		{"unset, below the default", 0, false, 9, "canary"},
		{"unset, over the default", 0, false, 10, "stable"},
		{"none", 0, true, 0, "stable"},
		{"half, below", 50, true, 149, "canary"},
		{"half, over", 50, true, 50, "stable"},
		{"all", 100, true, 99, "canary"},
		{"over all", 1000, true, 99, "canary"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			values := map[string]uint64{}
			if tc.set {
				values["share"] = tc.value
			}
			table, err := router.Compile(c, router.Options{Runtime: model.RuntimeOf(values)})
			if err != nil {
				t.Fatal(err)
			}
			if got := table.Match(request("a", "/"), nil, tc.random).Cluster; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRequireTLS(t *testing.T) {
	c := hosts("*")
	c.VirtualHosts[0].RequireTLS = model.TLSExternalOnly
	table := compile(t, c)
	if rt := table.Match(request("a:80", "/x", "x-forwarded-proto: http"), nil, 0); rt.Route.Redirect == nil {
		t.Error("an external client in plain text is served")
	} else if got := rt.Rules.Location(&filter.Stream{Request: request("a:80", "/x", "x-forwarded-proto: http")}, &rt); got != "https://a/x" {
		t.Errorf("redirected to %q", got)
	}
	for _, h := range []string{"x-forwarded-proto: https", "x-envoy-internal: true"} {
		if rt := table.Match(request("a", "/x", h), nil, 0); rt.Cluster != "*" {
			t.Errorf("with %s: %v", h, rt)
		}
	}
}

// finalize runs a request through a route and returns what came of both messages.
func finalize(t *testing.T, c *model.RouteConfig, req *message.Request) (*message.Request, *message.Response) {
	t.Helper()
	rt := compile(t, c).Match(req, nil, 0)
	if rt.Route == nil {
		t.Fatal("no route")
	}
	s := &filter.Stream{Request: req, Info: &streaminfo.Info{}}
	s.Format.Info, s.Format.Request = s.Info, req
	rt.Rules.FinalizeRequest(s, &rt, true)
	resp := &message.Response{Status: 200}
	resp.Headers.Add("x-up", "1")
	rt.Rules.FinalizeResponse(s, &rt, resp)
	return req, resp
}

func TestPathRewrites(t *testing.T) {
	for _, tc := range []struct {
		name  string
		match model.RouteMatch
		set   model.RouteAction
		path  string
		want  string
	}{
		{"prefix", model.RouteMatch{Path: "/foo"}, model.RouteAction{HasPrefixRewrite: true, PrefixRewrite: "/bar"}, "/foo/x?q", "/bar/x?q"},
		{"the // trap stays", model.RouteMatch{Path: "/foo"}, model.RouteAction{HasPrefixRewrite: true, PrefixRewrite: "/"}, "/foo/bar", "//bar"},
		{"separated", model.RouteMatch{Kind: model.PathSeparatedPrefix, Path: "/foo"}, model.RouteAction{HasPrefixRewrite: true, PrefixRewrite: "/bar"}, "/foo?q", "/bar?q"},
		{"exact", model.RouteMatch{Kind: model.PathExact, Path: "/foo"}, model.RouteAction{HasPrefixRewrite: true, PrefixRewrite: "/b"}, "/foo?q", "/b?q"},
		{"case", model.RouteMatch{Path: "/foo", IgnoreCase: true}, model.RouteAction{HasPrefixRewrite: true, PrefixRewrite: "/b"}, "/FOO/x", "/b/x"},
		{
			"regex",
			model.RouteMatch{Path: "/"},
			model.RouteAction{RegexRewrite: &model.RegexRewrite{Regex: regexp.MustCompile("/s/([^/]+)/(.*)"), Substitution: "/${2}/i/${1}"}},
			"/s/foo/v1/api?s/a/b", "/v1/api/i/foo?s/a/b",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := hosts("*")
			a := tc.set
			c.VirtualHosts[0].Routes = []*model.Route{{Match: tc.match, Action: &a}}
			req, _ := finalize(t, c, request("h", tc.path))
			if req.Path != tc.want {
				t.Errorf("path %q, want %q", req.Path, tc.want)
			}
			if got := req.Headers.Get(message.XEnvoyOriginalPath); got != tc.path {
				t.Errorf("original path %q", got)
			}
		})
	}
}

func TestHostRewrites(t *testing.T) {
	for _, tc := range []struct {
		name, want, xfh string
		set             model.RouteAction
	}{
		{"literal", "new", "", model.RouteAction{HostRewrite: "new"}},
		{"append", "new", "old:80", model.RouteAction{HostRewrite: "new", AppendXFH: true}},
		{"header", "from-header", "", model.RouteAction{HostRewriteHeader: "x-host"}},
		{"missing header", "old:80", "", model.RouteAction{HostRewriteHeader: "x-none"}},
		{"regex", "p.com", "", model.RouteAction{HostRewriteRegex: &model.RegexRewrite{Regex: regexp.MustCompile("^/([a-z]+)/.*$"), Substitution: "${1}.com"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := hosts("*")
			a := tc.set
			c.VirtualHosts[0].Routes = []*model.Route{{Match: model.RouteMatch{Path: "/"}, Action: &a}}
			req, _ := finalize(t, c, request("old:80", "/p/q?z", "x-host: from-header"))
			if req.Authority != tc.want || req.Headers.Get(message.XForwardedHost) != tc.xfh {
				t.Errorf("host %q, x-forwarded-host %q", req.Authority, req.Headers.Get(message.XForwardedHost))
			}
		})
	}
}

func TestMutations(t *testing.T) {
	level := func(name string) model.HeaderMutations {
		return model.HeaderMutations{
			RequestAdd: []model.HeaderOption{{Name: "X-Who", Value: name, Append: model.OverwriteOrAdd}, {Name: "x-order", Value: name}},
		}
	}
	c := hosts("*")
	c.Headers, c.VirtualHosts[0].Headers = level("global"), level("vhost")
	r := &model.Route{Match: model.RouteMatch{Path: "/"}, Headers: level("route"), Action: &model.RouteAction{
		Weighted: []model.WeightedCluster{{Name: "w", Weight: 1, Headers: level("weighted")}},
	}}
	r.Headers.RequestRemove = []string{"x-gone"}
	r.Headers.RequestAdd = append(r.Headers.RequestAdd,
		model.HeaderOption{Name: "x-there", Value: "no", Append: model.AddIfAbsent},
		model.HeaderOption{Name: "x-absent", Value: "%REQ(:path)%%%", Append: model.AddIfAbsent},
		model.HeaderOption{Name: "x-none", Value: "no", Append: model.OverwriteIfExists},
		model.HeaderOption{Name: "x-empty", Value: "%REQ(none)%"},
		model.HeaderOption{Name: "x-kept", Value: "%REQ(none)%", KeepEmpty: true},
	)
	r.Headers.ResponseAdd = []model.HeaderOption{{Name: "x-code", Value: "%RESP(:status)%"}}
	r.Headers.ResponseRemove = []string{"X-UP"}
	c.VirtualHosts[0].Routes = []*model.Route{r}
	want := func(most bool, who, order string) {
		t.Helper()
		c.MostSpecificWins = most
		req, resp := finalize(t, c, request("h", "/p", "x-gone: 1", "x-there: yes"))
		for name, value := range map[string]string{"x-who": who, "x-order": order, "x-there": "yes", "x-absent": "/p%", "x-kept": ""} {
			if got, ok := req.Headers.Joined(name); !ok || got != value {
				t.Errorf("%s = %q, %v, want %q", name, got, ok, value)
			}
		}
		for _, name := range []string{"x-gone", "x-none", "x-empty"} {
			if _, ok := req.Headers.Lookup(name); ok {
				t.Errorf("%s is there", name)
			}
		}
		if v, _ := resp.Headers.Lookup("x-code"); v != "200" || resp.Headers.Del("x-up") {
			t.Errorf("response headers: x-code %q", v)
		}
	}
	want(false, "global", "weighted,route,vhost,global")
	want(true, "weighted", "global,vhost,route,weighted")
}

func TestRedirects(t *testing.T) {
	for _, tc := range []struct {
		name     string
		redirect model.Redirect
		req      *message.Request
		want     string
	}{
		{"https drops 80", model.Redirect{HTTPS: true}, request("a:80", "/p?q"), "https://a/p?q"},
		{"https keeps others", model.Redirect{HTTPS: true}, request("a:8080", "/p"), "https://a:8080/p"},
		{"port", model.Redirect{Port: 8443, HTTPS: true}, request("a:80", "/p"), "https://a:8443/p"},
		{"host", model.Redirect{Host: "b"}, request("a:80", "/p"), "http://b/p"},
		{"path", model.Redirect{Path: "/new"}, request("a", "/p?q"), "http://a/new?q"},
		{"path strips", model.Redirect{Path: "/new", StripQuery: true}, request("a", "/p?q"), "http://a/new"},
		{"path with query", model.Redirect{Path: "/new?x"}, request("a", "/p?q"), "http://a/new?x"},
		{"prefix", model.Redirect{HasPrefix: true, PrefixRewrite: "/new"}, request("a", "/p/r?q"), "http://a/new/r?q"},
		{"regex", model.Redirect{RegexRewrite: &model.RegexRewrite{Regex: regexp.MustCompile("^/p(.*)$"), Substitution: "/x${1}"}}, request("a", "/p/r?q"), "http://a/x/r?q"},
		{"scheme by proto", model.Redirect{Host: "b"}, request("a", "/p", "x-forwarded-proto: https"), "https://b/p"},
		{"ipv6", model.Redirect{HTTPS: true}, request("[::1]:80", "/p"), "https://[::1]/p"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := hosts("*")
			rd := tc.redirect
			c.VirtualHosts[0].Routes = []*model.Route{{Match: model.RouteMatch{Path: "/p"}, Redirect: &rd}}
			rt := compile(t, c).Match(tc.req, nil, 0)
			if got := rt.Rules.Location(&filter.Stream{Request: tc.req}, &rt); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	c := hosts("a", "a", "*.x", "*.x")
	c.Headers.RequestAdd = []model.HeaderOption{{Name: ":path", Value: "x"}, {Name: "x", Value: "%NONE%"}}
	c.Headers.ResponseRemove = []string{"host"}
	c.VirtualHosts[0].Routes = []*model.Route{{}, {Action: &model.RouteAction{Weighted: []model.WeightedCluster{{Name: "w"}}}}}
	_, err := router.Compile(c, router.Options{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`domain "a" is there twice`, `domain "*.x" is there twice`, ":path", "operator NONE: not known", "may not be removed",
		"has no action", "must not sum to zero",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in\n%v", want, err)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	c := hosts("a.com", "*.b.com", "*")
	c.VirtualHosts[1].Routes = []*model.Route{
		to("x", model.RouteMatch{Path: "/x", Headers: []model.HeaderMatcher{{Name: "x", String: model.StringMatcher{Value: "1"}}}}),
		to("y", model.RouteMatch{Path: "/"}),
	}
	table := compile(t, c)
	req := request("WWW.b.com", "/x/y?z", "x: 2")
	if n := testing.AllocsPerRun(100, func() {
		if table.Match(req, nil, 1).Cluster != "y" {
			t.Fatal("wrong route")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a.com:80", "/p?q=1#f", "v")
	f.Add("", "", "")
	f.Add("[::1", "*", "\x00")
	c := hosts("a.com", "*.b", "w.*", "*")
	c.IgnorePortInHost = true
	c.VirtualHosts[3].Routes = []*model.Route{
		{Match: model.RouteMatch{Path: "/", Query: []model.QueryMatcher{{Name: "q", Present: true}}}, Redirect: &model.Redirect{HTTPS: true, HasPrefix: true, PrefixRewrite: "/"}},
		{Match: model.RouteMatch{Path: "/"}, Action: &model.RouteAction{HasPrefixRewrite: true, PrefixRewrite: "/x"}},
	}
	table := compile(f, c)
	f.Fuzz(func(t *testing.T, host, path, header string) {
		req := request(host, path, "x: "+header)
		rt := table.Match(req, nil, 3)
		if rt.Route == nil {
			return
		}
		s := &filter.Stream{Request: req, Info: &streaminfo.Info{}}
		if rt.Route.Redirect != nil {
			rt.Rules.Location(s, &rt)
			return
		}
		rt.Rules.FinalizeRequest(s, &rt, true)
	})
}
