package model

import "slices"

// managers are the connection managers of the listener, in order of its chains, the default chain last: those included that
// serve until ECDS delivers another one.
func (l *Listener) managers() []*HTTPConnectionManager {
	var list []*HTTPConnectionManager
	for _, c := range l.chains() {
		for _, n := range c.Filters {
			if n.Discovery != nil {
				list = append(list, n.Discovery.Default.managers()...)
			}
			if h, ok := n.Config.(*HTTPConnectionManager); ok {
				list = append(list, h)
			}
		}
	}
	return list
}

// managers is the connection manager that ECDS delivered, if it is one; f may be nil.
func (f *FilterConfig) managers() []*HTTPConnectionManager {
	if f == nil {
		return nil
	}
	if h, ok := f.Config.(*HTTPConnectionManager); ok {
		return []*HTTPConnectionManager{h}
	}
	return nil
}

// chains returns all filter chains, the default one last.
func (l *Listener) chains() []*FilterChain {
	if l.DefaultFilterChain == nil {
		return l.FilterChains
	}
	return append(slices.Clip(l.FilterChains), l.DefaultFilterChain)
}

// RouteReference is one need for a route configuration.
type RouteReference struct {
	Name   string
	Source *Source
	// StatPrefix is that of the first connection manager with the need.
	StatPrefix string
	// OnDemand tells that nobody needs it before a request does.
	OnDemand bool
}

// RouteReferences returns the needs of the listener's connection managers and of the scopes that they hold, in order of first
// use.
func (l *Listener) RouteReferences() []RouteReference { return routeReferences(l.managers()) }

// RouteReferences returns the needs of a connection manager that ECDS delivered.
func (f *FilterConfig) RouteReferences() []RouteReference { return routeReferences(f.managers()) }

func routeReferences(managers []*HTTPConnectionManager) []RouteReference {
	var refs []RouteReference
	seen := map[string]bool{}
	for _, h := range managers {
		add := func(name string, source *Source, onDemand bool) {
			lazy, known := seen[name]
			if name != "" && (!known || lazy && !onDemand) {
				seen[name] = onDemand
				refs = append(refs, RouteReference{name, source, h.StatPrefix, onDemand})
			}
		}
		switch {
		case h.Scoped != nil:
			for _, s := range h.Scoped.Scopes {
				if s.InlineRoutes == nil {
					add(s.RouteConfigName, h.Scoped.RouteSource, s.OnDemand)
				}
			}
		case h.InlineRoutes == nil:
			add(h.RouteConfigName, h.RouteSource, false)
		}
	}
	return refs
}

// SecretReference is one need for a secret. Source is nil when the secret is static.
type SecretReference struct {
	Name   string
	Source *Source
	// Kind is what it must be.
	Kind SecretKind
}

// SecretReferences returns the secrets that the listener's TLS contexts name, in order of first use.
func (l *Listener) SecretReferences() []SecretReference {
	var refs []SecretReference
	for _, c := range l.chains() {
		if c.TLS != nil {
			refs = c.TLS.addSecrets(refs)
		}
	}
	return refs
}

// SecretReferences returns the secrets that the cluster's TLS contexts name, in order of first use.
func (c *Cluster) SecretReferences() []SecretReference {
	var refs []SecretReference
	if c.TLS != nil {
		refs = c.TLS.addSecrets(refs)
	}
	for i := range c.TransportSocketMatches {
		if t := c.TransportSocketMatches[i].TLS; t != nil {
			refs = t.addSecrets(refs)
		}
	}
	return refs
}

// NeedsEDS tells clusters whose endpoints come from EDS.
func (c *Cluster) NeedsEDS() bool { return c.Type == ClusterEDS }

// addSecrets appends the secrets that p names and refs lacks.
func (p *TLSParams) addSecrets(refs []SecretReference) []SecretReference {
	add := func(name string, source *Source, kind SecretKind) {
		if name != "" && !slices.ContainsFunc(refs, func(r SecretReference) bool { return r.Name == name && r.Kind == kind }) {
			refs = append(refs, SecretReference{name, source, kind})
		}
	}
	for _, c := range p.Certificates {
		add(c.Secret, c.Source, SecretCertificate)
	}
	if p.Validation != nil {
		add(p.Validation.Secret, p.Validation.Source, SecretValidation)
	}
	return refs
}
