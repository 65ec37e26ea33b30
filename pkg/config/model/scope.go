package model

import "strings"

// ScopedRoutes chooses among route configurations by a key that is made of the request's headers
// (envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes).
type ScopedRoutes struct {
	Name string
	// Key is how the key of a request is made, in order; a request that lacks any fragment has no scope.
	Key []ScopeFragment
	// RouteSource delivers the route configurations that scopes name; nil when none may be named.
	RouteSource *Source
	// Source delivers the scopes; nil when Scopes are all there are.
	Source *Source
	Scopes []*Scope
}

// ScopeFragment takes one fragment of the key out of a header
// (ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor).
type ScopeFragment struct {
	// Header name in lower case.
	Header string
	// ElementSeparator splits the value; it is one element when empty.
	ElementSeparator string
	// ByKey takes what follows KeySeparator in the first element that has ElementKey before it; otherwise the element
	// with number Index, from 0, is taken.
	ByKey                    bool
	KeySeparator, ElementKey string
	Index                    int
}

// Scope is envoy.config.route.v3.ScopedRouteConfiguration.
type Scope struct {
	Resource
	// RouteConfigName is what RDS is asked for when InlineRoutes is nil.
	RouteConfigName string
	InlineRoutes    *RouteConfig
	// Key in the form of ScopeKey.
	Key string
	// OnDemand leaves the route configuration unasked for until a request wants it.
	OnDemand bool
}

// ScopeSeparator stands between the fragments of a scope's key. No header holds it.
const ScopeSeparator = "\x1f"

// ScopeKey joins the fragments of a key, which must not hold ScopeSeparator.
func ScopeKey(fragments []string) string { return strings.Join(fragments, ScopeSeparator) }

// ScopeSet is the scopes that one source of SRDS delivered, by Scope.Key.
type ScopeSet struct{ ByKey Set[*Scope] }

// Get finds a scope by its key; nil when there is none. s may be nil.
func (s *ScopeSet) Get(key string) *Scope {
	if s == nil {
		return nil
	}
	return s.ByKey.Get(key)
}

// ScopeReference is a connection manager's need for scopes over SRDS.
type ScopeReference struct {
	Name       string
	StatPrefix string
	Source     *Source
	// Routes is where the route configurations come from that the scopes name.
	Routes *Source
}

// ScopeReferences returns the scoped routes of the listener that come over SRDS, in order.
func (l *Listener) ScopeReferences() []ScopeReference { return scopeReferences(l.managers()) }

// ScopeReferences returns those of a connection manager that ECDS delivered.
func (f *FilterConfig) ScopeReferences() []ScopeReference { return scopeReferences(f.managers()) }

func scopeReferences(managers []*HTTPConnectionManager) []ScopeReference {
	var refs []ScopeReference
	for _, h := range managers {
		if h.Scoped != nil && h.Scoped.Source != nil {
			refs = append(refs, ScopeReference{h.Scoped.Name, h.StatPrefix, h.Scoped.Source, h.Scoped.RouteSource})
		}
	}
	return refs
}
