package router_test

import (
	"strings"
	"testing"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/router"
)

// tree compiles a matcher tree over the header x; the names of its actions are keys of lists.
func tree(t *testing.T, lists map[string]any) *matcher.Tree {
	t.Helper()
	const text = `{"matcher_tree": {
		"input": {"name": "h", "typed_config": {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": "x"}},
		"exact_match_map": {"map": {
			"a": {"action": {"name": "one", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}},
			"b": {"action": {"name": "one", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}}
		}}}}`
	m := &xdsmatcherv3.Matcher{}
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	registry, err := extension.NewRegistry(matcher.Factories()...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := matcher.Decode(m, matcher.RegistryReader(registry, func(e *xdscorev3.TypedExtensionConfig, _ string) (any, error) { return lists[e.GetName()], nil }))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMatcherTree(t *testing.T) {
	list := &model.RouteList{Routes: []*model.Route{to("first", model.RouteMatch{Kind: model.PathExact, Path: "/1"}), to("second", model.RouteMatch{Path: "/2"})}}
	c := &model.RouteConfig{VirtualHosts: []*model.VirtualHost{{
		Name: "v", Domains: []string{"*"}, Matcher: tree(t, map[string]any{"one": list}), MatcherRoutes: list.Routes, RequireTLS: model.TLSExternalOnly,
		Headers: model.HeaderMutations{RequestAdd: []model.HeaderOption{{Name: "x-host", Value: "v"}}},
	}}}
	table := compile(t, c)
	for _, tc := range []struct{ path, x, want string }{
		{"/1", "a", "first"}, {"/2/x", "b", "second"}, {"/3", "a", ""}, {"/1", "c", ""}, {"/1", "", ""},
	} {
		req := request("h", tc.path, "x-forwarded-proto: https")
		if tc.x != "" {
			req.Headers.Add("x", tc.x)
		}
		got := table.Match(req, nil, 0)
		if got.Cluster != tc.want || (got.Route != nil) != (tc.want != "") || got.VirtualHost == nil {
			t.Errorf("%s, x %q: %q, want %q", tc.path, tc.x, got.Cluster, tc.want)
		}
	}
	if got := table.Match(request("h", "/1", "x: a", "x-forwarded-proto: http"), nil, 0); got.Route == nil || got.Route.Redirect == nil {
		t.Error("the requirement of TLS is asked after the tree")
	}
	req, _ := finalize(t, c, request("h", "/1", "x: a", "x-forwarded-proto: https"))
	if v, _ := req.Headers.Lookup("x-host"); v != "v" {
		t.Errorf("x-host %q: routes of a tree lack what their virtual host says", v)
	}
}

func TestMatcherTreeErrors(t *testing.T) {
	bad := &model.RouteList{Routes: []*model.Route{{Name: "idle"}}}
	for want, m := range map[string]any{
		"is not a matcher tree":                  "text",
		"is not a list of routes":                tree(t, map[string]any{"one": 7}),
		`matcher: route 0 "idle": has no action`: tree(t, map[string]any{"one": bad}),
	} {
		_, err := router.Compile(&model.RouteConfig{VirtualHosts: []*model.VirtualHost{{Name: "v", Domains: []string{"*"}, Matcher: m}}}, router.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
