package hcm_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/hcm"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

func TestRequestScope(t *testing.T) {
	byIndex := func(header, separator string, index int) model.ScopeFragment {
		return model.ScopeFragment{Header: header, ElementSeparator: separator, Index: index}
	}
	byKey := func(header, separator, between, key string) model.ScopeFragment {
		return model.ScopeFragment{Header: header, ElementSeparator: separator, ByKey: true, KeySeparator: between, ElementKey: key}
	}
	for _, c := range []struct {
		name      string
		fragments []model.ScopeFragment
		headers   string
		want      string // "-" for none
	}{
		{"the whole value", []model.ScopeFragment{byIndex("x-tenant", "", 0)}, "x-tenant: a,b", "a,b"},
		{"an element by index", []model.ScopeFragment{byIndex("x-tenant", ",", 1)}, "x-tenant: a,b,c", "b"},
		{"the last element", []model.ScopeFragment{byIndex("x-tenant", "||", 2)}, "x-tenant: a||b||c", "c"},
		{"an index beyond the elements", []model.ScopeFragment{byIndex("x-tenant", ",", 3)}, "x-tenant: a,b,c", "-"},
		{"an empty element", []model.ScopeFragment{byIndex("x-tenant", ",", 1)}, "x-tenant: a,,c", ""},
		{"an element by key", []model.ScopeFragment{byKey("x-route", ";", "=", "vip")}, "x-route: a=1;vip=10.0.0.1;vip=2", "10.0.0.1"},
		{"by key in one element", []model.ScopeFragment{byKey("x-route", "", "=", "a")}, "x-route: a=1;b=2", "1;b=2"},
		{"by key without value", []model.ScopeFragment{byKey("x-route", ";", "=", "a")}, "x-route: b=1;a", ""},
		{"a key that is not there", []model.ScopeFragment{byKey("x-route", ";", "=", "z")}, "x-route: b=1;a", "-"},
		{"no such header", []model.ScopeFragment{byIndex("x-tenant", "", 0)}, "x-other: a", "-"},
		{"the first line of a header", []model.ScopeFragment{byIndex("x-tenant", "", 0)}, "x-tenant: a\nx-tenant: b", "a"},
		{"the authority", []model.ScopeFragment{byIndex(":authority", ".", 1)}, "", "example"},
		{
			"two fragments",
			[]model.ScopeFragment{byIndex("x-a", "", 0), byIndex("x-b", ",", 1)},
			"x-a: one\nx-b: 1,2",
			model.ScopeKey([]string{"one", "2"}),
		},
		{"the second of two is missing", []model.ScopeFragment{byIndex("x-a", "", 0), byIndex("x-b", ",", 1)}, "x-a: one\nx-b: 1", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &message.Request{Method: "GET", Path: "/", Authority: "www.example.com"}
			for _, line := range strings.Split(c.headers, "\n") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					r.Headers.Add(name, value)
				}
			}
			var arena filter.Arena
			got, ok := hcm.RequestScope(c.fragments, r, &arena)
			if !ok {
				got = "-"
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if n := testing.AllocsPerRun(100, func() { hcm.RequestScope(c.fragments, r, &arena); arena.Reset() }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// named is a route configuration that answers with its name.
func named(name string) *model.RouteConfig {
	c := routeConfig(&model.Route{Match: model.RouteMatch{Path: "/"}, Direct: &model.DirectResponse{Status: 200, Body: []byte(name)}})
	c.Name, c.MaxDirectResponseBytes = name, 4096
	return c
}

func TestScopesChooseRoutes(t *testing.T) {
	tenant := []model.ScopeFragment{{Header: "x-tenant"}}
	scopes := []*model.Scope{
		{Resource: model.Resource{Name: "inline"}, Key: "in", InlineRoutes: named("inline")},
		{Resource: model.Resource{Name: "rds"}, Key: "out", RouteConfigName: "rds"},
	}
	p := start(t, named("rds"), options{cfg: func(c *model.HTTPConnectionManager) {
		c.RouteConfigName, c.Scoped = "", &model.ScopedRoutes{Name: "tenants", Key: tenant, Scopes: scopes}
	}})
	ask := func(tenant string) (*http.Response, string) { return p.do(get("/", "x-tenant: "+tenant)) }
	for tenant, want := range map[string]string{"in": "inline", "out": "rds"} {
		if resp, body := ask(tenant); resp.StatusCode != 200 || body != want {
			t.Errorf("tenant %s: %d %q", tenant, resp.StatusCode, body)
		}
	}
	if resp, _ := ask("other"); resp.StatusCode != 404 {
		t.Errorf("without a scope: %d", resp.StatusCode)
	}
	if resp, _ := p.do(get("/")); resp.StatusCode != 404 {
		t.Errorf("without a key: %d", resp.StatusCode)
	}
	p.logged("GET / 404 NR route_not_found")
	p.swap(named("rds 2"))
	if _, body := ask("out"); body != "rds 2" {
		t.Errorf("after an update: %q", body)
	}
	p.swap(nil)
	if resp, _ := ask("out"); resp.StatusCode != 404 {
		t.Errorf("without its routes: %d", resp.StatusCode)
	}
}

func TestScopeTablesAreForgotten(t *testing.T) {
	p := start(t, nil, options{cfg: func(c *model.HTTPConnectionManager) {
		c.RouteConfigName, c.Scoped = "", &model.ScopedRoutes{
			Name: "tenants", Key: []model.ScopeFragment{{Header: "x-tenant"}},
			Scopes: []*model.Scope{{Resource: model.Resource{Name: "rds"}, Key: "a", RouteConfigName: "rds"}},
		}
	}})
	c := p.dial()
	defer c.Close()
	for i := range 300 {
		want := fmt.Sprint("version ", i)
		p.swap(named(want))
		c.send(get("/", "x-tenant: a"))
		if _, body := c.read("GET"); body != want {
			t.Fatalf("got %q, want %q", body, want)
		}
	}
	if n := p.manager.ScopeTables(); n > 65 {
		t.Errorf("%d tables are held for one scope", n)
	}
}
