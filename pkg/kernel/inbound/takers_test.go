package inbound

import (
	"net/netip"
	"testing"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// guard is a filter as configuration decodes it.
type guard struct{ model.NetworkRBAC }

// Policy implements what steer asks of filters.
func (g *guard) Policy() *model.NetworkRBAC { return &g.NetworkRBAC }

// denying is a chain whose rbac filter denies clients of a prefix.
func denying(name, prefix string, match model.FilterChainMatch) *model.FilterChain {
	return &model.FilterChain{Name: name, Match: match, Filters: []*model.NetworkFilter{
		{Name: "rbac", Config: &guard{model.NetworkRBAC{StatPrefix: name, Rules: &model.RBAC{Action: model.RBACDeny, Policies: []model.RBACPolicy{{
			Name: "p", Permissions: []model.RBACRule{{Kind: model.RBACAny}},
			Principals: []model.RBACRule{{Kind: model.RBACDirectRemoteIP, Prefix: netip.MustParsePrefix(prefix)}},
		}}}}}},
		{Name: "tcp", Config: &model.TCPProxy{}},
	}}
}

// Rules are split up by listener and by port, so that each has the policies of one filter chain; what is captured stays the same.
func TestPoliciesOfRules(t *testing.T) {
	virtual := inboundListener("virtual", "0.0.0.0:15006")
	virtual.UseOriginalDst, virtual.BindToPort = true, true
	virtual.FilterChains = []*model.FilterChain{
		denying("http", "10.0.0.0/8", model.FilterChainMatch{DestinationPort: 8080}), denying("rest", "192.0.2.0/24", model.FilterChainMatch{}),
	}
	metrics := inboundListener("metrics", "0.0.0.0:9090")
	metrics.BindToPort, metrics.TrafficDirection = true, model.TrafficUnspecified
	logged := inboundListener("logged", "10.0.0.1:7000")
	logged.FilterChains = []*model.FilterChain{denying("logged", "10.0.0.0/8", model.FilterChainMatch{})}
	logged.AccessLogs = []*model.AccessLog{{}}
	plan := Compile(snapshot(nil, virtual, metrics, logged))
	for _, tt := range []struct {
		prefix         string
		port           uint16
		listener, stat string
		kept           bool
	}{
		{"0.0.0.0/0", 8080, "virtual", "http.rbac.", false},
		{"0.0.0.0/0", 9090, "metrics", "", true},
		{"10.0.0.1/32", 7000, "logged", "", true},
		{"::/0", 8080, "virtual", "http.rbac.", false},
	} {
		found := false
		for _, r := range plan.Rules {
			if r.Prefix != netip.MustParsePrefix(tt.prefix) || r.Port != tt.port {
				continue
			}
			found = true
			stat := ""
			if r.Policy != nil {
				stat = r.Policy.Engines[0].Stat
			}
			if r.Listener != tt.listener || stat != tt.stat || (r.Kept != "") != tt.kept {
				t.Errorf("%s port %d: listener %s, policy %q, kept by %q; want %+v", r.Prefix, r.Port, r.Listener, stat, r.Kept, tt)
			}
		}
		if !found {
			t.Errorf("no rule for %s port %d", tt.prefix, tt.port)
		}
	}
	if plain := Compile(snapshot(nil, inboundListener("plain", "0.0.0.0:80"))); len(plain.Rules) != 1 || plain.Rules[0].Policy != nil {
		t.Errorf("without rbac filters the rules are %+v", plain.Rules)
	}
}
