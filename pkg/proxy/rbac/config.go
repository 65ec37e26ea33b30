package rbac

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/extension/decode"
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
)

// maxDepth bounds how deep permissions and principals are nested.
const maxDepth = 32

// Support is the table of the messages that Rules and Tree read, for connections. Rules about requests add header and url_path.
func Support() map[string]extension.Fields {
	const rbac = "envoy.config.rbac.v3."
	return map[string]extension.Fields{
		rbac + "RBAC":   {"action": {}, "policies": {}},
		rbac + "Policy": {"permissions": {}, "principals": {}},
		rbac + "Permission": {
			"and_rules": {}, "or_rules": {}, "any": {}, "destination_ip": {}, "destination_port": {},
			"destination_port_range": {}, "metadata": {}, "not_rule": {}, "requested_server_name": {}, "sourced_metadata": {},
		},
		rbac + "Permission.Set": {"rules": {}},
		rbac + "Principal": {
			"and_ids": {}, "or_ids": {}, "any": {}, "authenticated": {}, "source_ip": {}, "direct_remote_ip": {}, "remote_ip": {},
			"metadata": {}, "filter_state": {}, "not_id": {}, "sourced_metadata": {},
		},
		rbac + "Principal.Set":           {"ids": {}},
		rbac + "Principal.Authenticated": {"principal_name": {}},
		rbac + "SourcedMetadata":         {"metadata_matcher": {}},
		rbac + "Action":                  {"name": {}, "action": {}},
		"envoy.type.v3.Int32Range":       {"start": {}, "end": {}},
	}
}

// Rules translates policies. All faults are reported, each below path, which leads to m. A rule that asks about HTTP requests is a
// fault where there are none.
func Rules(m *rbacv3.RBAC, path string, http bool) (*model.RBAC, error) {
	d := &decoder{http: http}
	out := &model.RBAC{Action: action(m.GetAction())}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		p, at := m.GetPolicies()[name], fmt.Sprintf("%s.policies[%q]", path, name)
		if p.GetCondition() != nil || p.GetCheckedCondition() != nil {
			d.fail(at+".condition", errors.New("not supported by weir"))
		}
		policy := model.RBACPolicy{Name: name}
		for i, r := range p.GetPermissions() {
			policy.Permissions = append(policy.Permissions, d.permission(r, fmt.Sprintf("%s.permissions[%d]", at, i), 0))
		}
		for i, r := range p.GetPrincipals() {
			policy.Principals = append(policy.Principals, d.principal(r, fmt.Sprintf("%s.principals[%d]", at, i), 0))
		}
		out.Policies = append(out.Policies, policy)
	}
	return out, errors.Join(d.errs...)
}

func action(a rbacv3.RBAC_Action) model.RBACAction {
	switch a {
	case rbacv3.RBAC_DENY:
		return model.RBACDeny
	case rbacv3.RBAC_LOG:
		return model.RBACLog
	}
	return model.RBACAllow
}

// Tree compiles a matcher tree for NewTree; an empty one is nil. All faults are reported, each below path. When inputs is not nil,
// an input that it does not name is a fault in words that end in its type.
func Tree(m *xdsmatcherv3.Matcher, path string, registry *extension.Registry, inputs map[string]bool, refusal string) (*matcher.Tree, error) {
	if m.GetMatcherType() == nil && m.GetOnNoMatch() == nil {
		return nil, nil
	}
	r := matcher.RegistryReader(registry, func(e *xdscorev3.TypedExtensionConfig, _ string) (any, error) {
		a := &rbacv3.Action{}
		if err := e.GetTypedConfig().UnmarshalTo(a); err != nil {
			return nil, fmt.Errorf("read action %s: %w", e.GetName(), err)
		}
		if a.GetName() == "" {
			return nil, errors.New("name: must not be empty")
		}
		return &Action{a.GetName(), action(a.GetAction())}, nil
	})
	read := r.Extension
	r.Extension = func(category string, e *xdscorev3.TypedExtensionConfig, path string) (any, error) {
		if u := e.GetTypedConfig().GetTypeUrl(); category == extension.MatchingHTTPInputs && inputs != nil && !inputs[u] {
			return nil, fmt.Errorf("%s '%s'", refusal, u)
		}
		return read(category, e, path)
	}
	t, err := matcher.Decode(m, r)
	return t, under(path, err)
}

// under puts path before each of the faults that err joins.
func under(path string, err error) error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, under(path, e))
		}
		return errors.Join(out...)
	}
	if inner, ok := errors.AsType[*decode.PathError](err); ok && inner.Path != "" {
		return &decode.PathError{Path: path + "." + inner.Path, Err: inner.Err}
	}
	return &decode.PathError{Path: path, Err: err}
}

// decoder collects what is wrong with rules.
type decoder struct {
	http bool
	errs []error
}

func (d *decoder) fail(path string, err error) {
	d.errs = append(d.errs, &decode.PathError{Path: path, Err: err})
}

// checked notes an error of a field, if there is one.
func (d *decoder) checked(path string, err error) {
	if err != nil {
		d.fail(path, err)
	}
}

func (d *decoder) tooDeep(at string, depth int) bool {
	if depth > maxDepth {
		d.fail(at, fmt.Errorf("rules are nested deeper than %d", maxDepth))
	}
	return depth > maxDepth
}

func (d *decoder) permission(m *rbacv3.Permission, at string, depth int) (out model.RBACRule) {
	if d.tooDeep(at, depth) {
		return out
	}
	several := func(list []*rbacv3.Permission, name string) (rules []model.RBACRule) {
		for i, r := range list {
			rules = append(rules, d.permission(r, fmt.Sprintf("%s.%s.rules[%d]", at, name, i), depth+1))
		}
		return rules
	}
	switch k := m.GetRule().(type) {
	case *rbacv3.Permission_Any:
		out.Kind = model.RBACAny
	case *rbacv3.Permission_AndRules:
		out.Kind, out.Rules = model.RBACAnd, several(k.AndRules.GetRules(), "and_rules")
	case *rbacv3.Permission_OrRules:
		out.Kind, out.Rules = model.RBACOr, several(k.OrRules.GetRules(), "or_rules")
	case *rbacv3.Permission_NotRule:
		out.Kind, out.Rules = model.RBACNot, []model.RBACRule{d.permission(k.NotRule, at+".not_rule", depth+1)}
	case *rbacv3.Permission_DestinationIp:
		out.Kind, out.Prefix = model.RBACDestinationIP, d.prefix(k.DestinationIp, at+".destination_ip")
	case *rbacv3.Permission_DestinationPort:
		out.Kind, out.Start, out.End = model.RBACDestinationPort, k.DestinationPort, k.DestinationPort+1
		if k.DestinationPort > 65535 {
			d.fail(at+".destination_port", fmt.Errorf("port %d is above 65535", k.DestinationPort))
		}
	case *rbacv3.Permission_DestinationPortRange:
		out = d.portRange(k.DestinationPortRange, at+".destination_port_range")
	case *rbacv3.Permission_RequestedServerName:
		out.Kind, out.String = model.RBACServerName, d.text(k.RequestedServerName, at+".requested_server_name")
	case *rbacv3.Permission_Metadata:
		out.Kind, out.Metadata = model.RBACMetadata, d.metadata(k.Metadata, at+".metadata")
	case *rbacv3.Permission_SourcedMetadata:
		out = d.sourced(k.SourcedMetadata, at+".sourced_metadata")
	case *rbacv3.Permission_Header:
		out.Kind, out.Header = model.RBACHeader, d.header(k.Header, at+".header")
	case *rbacv3.Permission_UrlPath:
		out.Kind, out.String = model.RBACPath, d.text(k.UrlPath.GetPath(), at+".url_path.path")
	case nil:
		d.fail(at, errors.New("one kind of rule must be set"))
	default:
		d.fail(at, fmt.Errorf("%s is not supported by weir", m.ProtoReflect().WhichOneof(m.ProtoReflect().Descriptor().Oneofs().Get(0)).Name()))
	}
	return out
}

func (d *decoder) principal(m *rbacv3.Principal, at string, depth int) (out model.RBACRule) {
	if d.tooDeep(at, depth) {
		return out
	}
	several := func(list []*rbacv3.Principal, name string) (rules []model.RBACRule) {
		for i, r := range list {
			rules = append(rules, d.principal(r, fmt.Sprintf("%s.%s.ids[%d]", at, name, i), depth+1))
		}
		return rules
	}
	switch k := m.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		out.Kind = model.RBACAny
	case *rbacv3.Principal_AndIds:
		out.Kind, out.Rules = model.RBACAnd, several(k.AndIds.GetIds(), "and_ids")
	case *rbacv3.Principal_OrIds:
		out.Kind, out.Rules = model.RBACOr, several(k.OrIds.GetIds(), "or_ids")
	case *rbacv3.Principal_NotId:
		out.Kind, out.Rules = model.RBACNot, []model.RBACRule{d.principal(k.NotId, at+".not_id", depth+1)}
	case *rbacv3.Principal_SourceIp:
		out.Kind, out.Prefix = model.RBACSourceIP, d.prefix(k.SourceIp, at+".source_ip")
	case *rbacv3.Principal_DirectRemoteIp:
		out.Kind, out.Prefix = model.RBACDirectRemoteIP, d.prefix(k.DirectRemoteIp, at+".direct_remote_ip")
	case *rbacv3.Principal_RemoteIp:
		out.Kind, out.Prefix = model.RBACRemoteIP, d.prefix(k.RemoteIp, at+".remote_ip")
	case *rbacv3.Principal_Authenticated_:
		out.Kind = model.RBACAuthenticated
		if name := k.Authenticated.GetPrincipalName(); name != nil {
			out.String = d.text(name, at+".authenticated.principal_name")
		}
	case *rbacv3.Principal_Metadata:
		out.Kind, out.Metadata = model.RBACMetadata, d.metadata(k.Metadata, at+".metadata")
	case *rbacv3.Principal_SourcedMetadata:
		out = d.sourced(k.SourcedMetadata, at+".sourced_metadata")
	case *rbacv3.Principal_FilterState:
		out.Kind, out.FilterState = model.RBACFilterState, d.filterState(k.FilterState, at+".filter_state")
	case *rbacv3.Principal_Header:
		out.Kind, out.Header = model.RBACHeader, d.header(k.Header, at+".header")
	case *rbacv3.Principal_UrlPath:
		out.Kind, out.String = model.RBACPath, d.text(k.UrlPath.GetPath(), at+".url_path.path")
	case nil:
		d.fail(at, errors.New("one kind of identifier must be set"))
	default:
		d.fail(at, fmt.Errorf("%s is not supported by weir", m.ProtoReflect().WhichOneof(m.ProtoReflect().Descriptor().Oneofs().Get(0)).Name()))
	}
	return out
}

// header refuses, in Envoy's words, to ask about headers where there are none.
func (d *decoder) header(m *routev3.HeaderMatcher, at string) *model.HeaderMatcher {
	h, err := decode.HeaderMatcher(m)
	if !d.http {
		//lint:ignore ST1005 these are Envoy's words
		err = fmt.Errorf("Found header(%s) rule,not supported by RBAC network filter", m.GetName())
	}
	d.checked(at, err)
	return &h
}

func (d *decoder) prefix(m *corev3.CidrRange, at string) netip.Prefix {
	addr, err := netip.ParseAddr(m.GetAddressPrefix())
	if err != nil {
		d.fail(at+".address_prefix", fmt.Errorf("malformed IP address %q", m.GetAddressPrefix()))
		return netip.Prefix{}
	}
	p, err := addr.Unmap().WithZone("").Prefix(int(min(m.GetPrefixLen().GetValue(), 1000)))
	if err != nil {
		d.fail(at+".prefix_len", fmt.Errorf("prefix length %d is too long for %s", m.GetPrefixLen().GetValue(), addr))
	}
	return p
}

func (d *decoder) portRange(m *typev3.Int32Range, at string) model.RBACRule {
	start, end := m.GetStart(), m.GetEnd()
	switch {
	case start < 0 || start > 65536:
		d.fail(at, fmt.Errorf("range start %d is out of bounds", start))
	case end < 0 || end > 65536:
		d.fail(at, fmt.Errorf("range end %d is out of bounds", end))
	case start >= end:
		d.fail(at, fmt.Errorf("range start %d cannot be greater or equal than range end %d", start, end))
	}
	return model.RBACRule{Kind: model.RBACDestinationPort, Start: uint32(start), End: uint32(end)}
}

func (d *decoder) text(m *matcherv3.StringMatcher, at string) *model.StringMatcher {
	s, err := decode.StringMatcher(m)
	d.checked(at, err)
	return &s
}

func (d *decoder) metadata(m *matcherv3.MetadataMatcher, at string) *model.MetadataMatcher {
	out := &model.MetadataMatcher{Filter: m.GetFilter(), Invert: m.GetInvert()}
	for _, s := range m.GetPath() {
		out.Path = append(out.Path, s.GetKey())
	}
	var err error
	out.Value, err = decode.ValueMatcher(m.GetValue())
	d.checked(at+".value", err)
	return out
}

func (d *decoder) sourced(m *rbacv3.SourcedMetadata, at string) model.RBACRule {
	if m.GetMetadataSource() != rbacv3.MetadataSource_DYNAMIC {
		d.fail(at+".metadata_source", fmt.Errorf("%s is not supported by weir", m.GetMetadataSource()))
	}
	return model.RBACRule{Kind: model.RBACMetadata, Metadata: d.metadata(m.GetMetadataMatcher(), at+".metadata_matcher")}
}

func (d *decoder) filterState(m *matcherv3.FilterStateMatcher, at string) *model.FilterStateMatcher {
	out := &model.FilterStateMatcher{Key: m.GetKey()}
	switch k := m.GetMatcher().(type) {
	case *matcherv3.FilterStateMatcher_StringMatch:
		out.String = *d.text(k.StringMatch, at+".string_match")
	case *matcherv3.FilterStateMatcher_AddressMatch:
		out.InvertPrefixes = k.AddressMatch.GetInvertMatch()
		for i, r := range k.AddressMatch.GetRanges() {
			out.Prefixes = append(out.Prefixes, d.prefix(&corev3.CidrRange{AddressPrefix: r.GetAddressPrefix(), PrefixLen: r.GetPrefixLen()},
				fmt.Sprintf("%s.address_match.ranges[%d]", at, i)))
		}
	default:
		d.fail(at, errors.New("one of string_match and address_match must be set"))
	}
	return out
}
