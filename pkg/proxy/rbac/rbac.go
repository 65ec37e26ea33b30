// Package rbac decides whether a connection or a request is allowed: the policies and matcher trees of
// envoy.config.rbac.v3, for every filter that has some.
//
// It owns what permissions, principals and actions mean. It must not know what happens to who is denied, nor count; protobuf is
// known to config.go alone. An Engine is immutable and may be used by any number of goroutines; evaluating policies allocates
// nothing.
package rbac

import (
	"net/netip"
	"strings"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/matcher"
	"github.com/weir-proxy/weir/pkg/proxy/router/match"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Where an evaluation leaves what later filters and access logs read, in dynamic metadata. The names are Envoy's.
const (
	// LogNamespace and LogKey hold whether a policy of action LOG matched.
	LogNamespace = "envoy.common"
	LogKey       = "access_log_hint"
	// ShadowPolicyKey and ShadowResultKey follow shadow_rules_stat_prefix, in the filter's own namespace.
	ShadowPolicyKey = "shadow_effective_policy_id"
	ShadowResultKey = "shadow_engine_result"
)

// Engine evaluates either policies or a matcher tree. The zero value, which has neither, denies everything.
type Engine struct {
	rules *model.RBAC
	tree  *matcher.Tree
	// logs tells that an action of the tree is LOG.
	logs bool
}

// New makes the engine of policies.
func New(rules *model.RBAC) *Engine { return &Engine{rules: rules} }

// NewTree makes the engine of a matcher tree, the actions of which are *Action. A nil tree denies everything.
func NewTree(tree *matcher.Tree) *Engine {
	e := &Engine{tree: tree}
	if tree != nil {
		tree.Actions(func(a any) { e.logs = e.logs || a.(*Action).Action == model.RBACLog })
	}
	return e
}

// Action is envoy.config.rbac.v3.Action: what a matcher tree leads to.
type Action struct {
	Name   string
	Action model.RBACAction
}

// String describes the engine for people: the action and the names of the policies, or the tree and the names of its actions.
func (e *Engine) String() string {
	words := [...]string{"ALLOW", "DENY", "LOG"}
	switch {
	case e.rules != nil:
		var names []string
		for i := range e.rules.Policies {
			names = append(names, e.rules.Policies[i].Name)
		}
		return words[e.rules.Action] + " " + strings.Join(names, ", ")
	case e.tree != nil:
		out := e.tree.String()
		e.tree.Actions(func(a any) { out += words[a.(*Action).Action] + " " + a.(*Action).Name + "\n" })
		return out
	}
	return "DENY everything"
}

// Result is what an evaluation comes to.
type Result struct {
	Allowed bool
	// Policy is the name of the policy or action that matched; empty when none did.
	Policy string
	// Logs tells that there are actions LOG, and Logged that one matched.
	Logs, Logged bool
}

// Evaluate decides about what d tells. d.Info and its connection must be there.
func (e *Engine) Evaluate(d *matcher.Data) Result {
	if e.rules == nil {
		return e.evaluateTree(d)
	}
	r := Result{Logs: e.rules.Action == model.RBACLog}
	matched := false
	for i := range e.rules.Policies {
		p := &e.rules.Policies[i]
		if anyMatches(p.Permissions, d) && anyMatches(p.Principals, d) {
			matched, r.Policy = true, p.Name
			break
		}
	}
	switch e.rules.Action {
	case model.RBACAllow:
		r.Allowed = matched
	case model.RBACDeny:
		r.Allowed = !matched
	default:
		r.Allowed, r.Logged = true, matched
	}
	return r
}

func (e *Engine) evaluateTree(d *matcher.Data) Result {
	r := Result{Logs: e.logs}
	if e.tree == nil {
		return r
	}
	found, ok := e.tree.Match(d)
	if !ok {
		return r
	}
	a := found.(*Action)
	r.Policy, r.Allowed, r.Logged = a.Name, a.Action != model.RBACDeny, a.Action == model.RBACLog
	return r
}

func anyMatches(rules []model.RBACRule, d *matcher.Data) bool {
	for i := range rules {
		if matches(&rules[i], d) {
			return true
		}
	}
	return false
}

// matches decides about one permission or principal.
func matches(r *model.RBACRule, d *matcher.Data) bool {
	c := d.Info.Conn
	switch r.Kind {
	case model.RBACAny:
		return true
	case model.RBACAnd:
		for i := range r.Rules {
			if !matches(&r.Rules[i], d) {
				return false
			}
		}
		return true
	case model.RBACOr:
		return anyMatches(r.Rules, d)
	case model.RBACNot:
		return !matches(&r.Rules[0], d)
	case model.RBACDestinationIP:
		return within(r.Prefix, c.Local.Addr())
	case model.RBACDestinationPort:
		port := uint32(c.Local.Port())
		return c.Local.IsValid() && r.Start <= port && port < r.End
	case model.RBACDirectRemoteIP:
		return within(r.Prefix, c.DirectRemote.Addr())
	case model.RBACRemoteIP:
		return within(r.Prefix, d.Info.ClientAddr())
	case model.RBACSourceIP:
		return within(r.Prefix, c.Remote.Addr())
	}
	return matchesMore(r, d)
}

// matchesMore decides about what is not addresses.
func matchesMore(r *model.RBACRule, d *matcher.Data) bool {
	switch r.Kind {
	case model.RBACServerName:
		return match.String(r.String, d.Info.Conn.ServerName)
	case model.RBACAuthenticated:
		return authenticated(r.String, d.Info.Conn)
	case model.RBACMetadata:
		return match.Metadata(r.Metadata, d.Info.Dynamic)
	case model.RBACFilterState:
		return match.FilterState(r.FilterState, d.Info.FilterState)
	case model.RBACHeader:
		return d.Request != nil && match.Header(r.Header, d.Request)
	case model.RBACPath:
		if d.Request == nil {
			return false
		}
		path, _, _ := strings.Cut(d.Request.Path, "?")
		path, _, _ = strings.Cut(path, "#")
		return match.String(r.String, path)
	}
	return false
}

// within is whether an address, which may be none, is in a prefix of the same family.
func within(p netip.Prefix, a netip.Addr) bool { return p.Contains(a.Unmap().WithZone("")) }

// authenticated asks about the client's certificate: its URI names, its DNS names, then its subject, as Envoy does. Without a
// matcher TLS is enough, with or without a certificate, which is Envoy's behavior too.
func authenticated(m *model.StringMatcher, c *streaminfo.Connection) bool {
	if c.TLS == nil {
		return false
	}
	if m == nil {
		return true
	}
	if len(c.TLS.PeerCertificates) == 0 {
		return match.String(m, "")
	}
	cert := c.TLS.PeerCertificates[0]
	for _, u := range cert.URIs {
		if match.String(m, u.String()) {
			return true
		}
	}
	for _, name := range cert.DNSNames {
		if match.String(m, name) {
			return true
		}
	}
	return match.String(m, cert.Subject.String())
}

// DenialDetails is why a connection or request was denied, in Envoy's words for access logs. A policy's white space is replaced,
// since it would break the fields of a log line.
func DenialDetails(policy string) string {
	if policy == "" {
		policy = "none"
	}
	return "rbac_access_denied_matched_policy[" + strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			return '_'
		}
		return r
	}, policy) + "]"
}
