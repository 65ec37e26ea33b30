package steer

import (
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

type rbacFilter struct{ model.NetworkRBAC }

func (f *rbacFilter) Policy() *model.NetworkRBAC { return &f.NetworkRBAC }

type limitFilter struct{ model.ConnectionLimit }

func (f *limitFilter) Limit() *model.ConnectionLimit { return &f.ConnectionLimit }

func TestAdmissionOf(t *testing.T) {
	bySource := &rbacFilter{model.NetworkRBAC{StatPrefix: "s", Rules: &model.RBAC{Policies: []model.RBACPolicy{policy("p", anything, []model.RBACRule{source("10.0.0.0/8")})}}}}
	denyAll := &rbacFilter{model.NetworkRBAC{StatPrefix: "s", Rules: &model.RBAC{}}}
	limit := func(l model.ConnectionLimit) *limitFilter { return &limitFilter{l} }
	for _, c := range []struct {
		name    string
		filters []any
		kept    string
		limit   uint32
		policy  bool
	}{
		{name: "none"},
		{name: "rules", filters: []any{denyAll}, policy: true},
		{name: "a limit", filters: []any{limit(model.ConnectionLimit{MaxConnections: 5, Enabled: true})}, limit: 5},
		{name: "a limit that is off", filters: []any{limit(model.ConnectionLimit{MaxConnections: 5})}},
		{name: "a huge limit and rules", filters: []any{limit(model.ConnectionLimit{MaxConnections: 1 << 40, Enabled: true}), denyAll}, limit: 1<<31 - 1, policy: true},
		{name: "rules that evaluate nothing", filters: []any{&rbacFilter{}}},
		{name: "sources", filters: []any{bySource}, kept: "filters: rbac rules about the source, which connect() does not know yet, need user space"},
		{name: "a matcher", filters: []any{denyAll, &rbacFilter{model.NetworkRBAC{HasMatcher: true}}}, kept: "filters: rbac filter 2: matcher needs user space"},
		{name: "a switch", filters: []any{limit(model.ConnectionLimit{MaxConnections: 5, EnabledKey: "k"})}, kept: "filters[0].runtime_enabled needs user space"},
		{name: "a delay", filters: []any{limit(model.ConnectionLimit{MaxConnections: 5, Enabled: true, Delay: 1})}, kept: "filters[0].delay needs user space"},
		{
			name:    "two limits",
			filters: []any{limit(model.ConnectionLimit{MaxConnections: 5, Enabled: true}), limit(model.ConnectionLimit{MaxConnections: 6, Enabled: true})},
			kept:    "filters[1] (f) needs user space: there is another limit",
		},
		{name: "another filter", filters: []any{"what?"}, kept: "filters[0] (f) needs user space"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fc := &model.FilterChain{}
			for _, f := range c.filters {
				fc.Filters = append(fc.Filters, &model.NetworkFilter{Name: "f", Config: f})
			}
			fc.Filters = append(fc.Filters, &model.NetworkFilter{Name: "tcp", Config: &model.TCPProxy{}})
			a, kept := AdmissionOf(fc)
			if kept != c.kept {
				t.Fatalf("kept by %q, want %q", kept, c.kept)
			}
			_, proxyKept := proxyOf(fc, "chain")
			if (proxyKept == "") != (kept == "") || kept != "" && proxyKept != "chain."+kept {
				t.Errorf("the chain is kept by %q", proxyKept)
			}
			if kept == "" && (a.ConnectionLimit() != c.limit || (a.Policy != nil) != c.policy) {
				t.Errorf("limit %d, policy %v", a.ConnectionLimit(), a.Policy)
			}
		})
	}
	discovered := &model.FilterChain{Filters: []*model.NetworkFilter{{Name: "f", Discovery: &model.FilterDiscovery{}}, {Name: "tcp", Config: &model.TCPProxy{}}}}
	if _, kept := AdmissionOf(discovered); kept != "filters[0] (f) needs user space: ECDS may change it" {
		t.Errorf("kept by %q", kept)
	}
}
