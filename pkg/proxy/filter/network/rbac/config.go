package rbac

import (
	"errors"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	engine "github.com/weir-proxy/weir/pkg/proxy/rbac"
)

// Factory describes the filter: envoy.filters.network.rbac.
func Factory() extension.Factory {
	support := engine.Support()
	support["envoy.extensions.filters.network.rbac.v3.RBAC"] = extension.Fields{
		"rules": {}, "matcher": {}, "shadow_rules": {}, "shadow_matcher": {}, "shadow_rules_stat_prefix": {}, "stat_prefix": {},
		"enforcement_type": {}, "delay_deny": {},
	}
	return extension.Factory{
		Category: extension.NetworkFilters,
		Name:     "envoy.filters.network.rbac",
		Config:   &rbacv3.RBAC{},
		Decode:   func(m proto.Message) (any, error) { return decode(m.(*rbacv3.RBAC)) },
		Review:   review,
		Support:  support,
	}
}

// inputs are what a matcher may ask about without HTTP, as in Envoy, by type URL.
func inputs() map[string]bool {
	out := map[string]bool{}
	for _, m := range []proto.Message{
		&networkv3.DestinationIPInput{}, &networkv3.DestinationPortInput{}, &networkv3.SourceIPInput{}, &networkv3.SourcePortInput{},
		&networkv3.DirectSourceIPInput{}, &networkv3.ServerNameInput{}, &networkv3.FilterStateInput{},
		&sslv3.UriSanInput{}, &sslv3.DnsSanInput{}, &sslv3.SubjectInput{},
	} {
		out[extension.TypeURL(m)] = true
	}
	return out
}

func decode(m *rbacv3.RBAC) (*Config, error) {
	out := &Config{RBAC: model.NetworkRBAC{
		StatPrefix: strings.TrimSuffix(m.GetStatPrefix(), "."), ShadowStatPrefix: strings.TrimSuffix(m.GetShadowRulesStatPrefix(), "."),
		Continuous: m.GetEnforcementType() == rbacv3.RBAC_CONTINUOUS, DelayDeny: m.GetDelayDeny().AsDuration(),
		HasMatcher: m.GetMatcher() != nil, HasShadowMatcher: m.GetShadowMatcher() != nil,
	}, ShadowKeys: m.GetShadowRulesStatPrefix()}
	var errs [4]error
	if out.RBAC.StatPrefix == "" {
		errs[0] = errors.New("stat_prefix: must not be empty")
	}
	if out.RBAC.DelayDeny < 0 {
		errs[1] = errors.New("delay_deny: must not be negative")
	}
	out.Enforced, out.RBAC.Rules, errs[2] = newEngine(m.GetRules(), "rules", m.GetMatcher(), "matcher")
	out.Shadow, out.RBAC.ShadowRules, errs[3] = newEngine(m.GetShadowRules(), "shadow_rules", m.GetShadowMatcher(), "shadow_matcher")
	return out, errors.Join(errs[:]...)
}

// newEngine makes the engine of a matcher, or of rules, which a matcher replaces; nil when there is neither.
func newEngine(rules *rulesv3.RBAC, rulesField string, tree *xdsmatcherv3.Matcher, treeField string) (*engine.Engine, *model.RBAC, error) {
	switch {
	case tree != nil:
		registry, err := extension.NewRegistry(matcher.Factories()...)
		if err != nil {
			return nil, nil, err
		}
		t, err := engine.Tree(tree, treeField, registry, inputs(), "RBAC network filter cannot match")
		if err != nil {
			return nil, nil, err
		}
		return engine.NewTree(t), nil, nil
	case rules != nil:
		r, err := engine.Rules(rules, rulesField, false)
		if err != nil {
			return nil, nil, err
		}
		return engine.New(r), r, nil
	}
	return nil, nil, nil
}

// review tells of rules that a matcher replaces.
func review(message proto.Message) []extension.Finding {
	m := message.(*rbacv3.RBAC)
	var out []extension.Finding
	if m.GetRules() != nil && m.GetMatcher() != nil {
		out = append(out, extension.Finding{Path: "rules", Reason: "ignored, since matcher is configured"})
	}
	if m.GetShadowRules() != nil && m.GetShadowMatcher() != nil {
		out = append(out, extension.Finding{Path: "shadow_rules", Reason: "ignored, since shadow_matcher is configured"})
	}
	return out
}
