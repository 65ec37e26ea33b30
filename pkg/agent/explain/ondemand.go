package explain

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/filter"
	"github.com/weir-proxy/weir/pkg/proxy/filter/http/ondemand"
	"github.com/weir-proxy/weir/pkg/proxy/hcm"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
)

// routeConfig gives the route configuration that a request is routed by, and where it is from; nil with the reason why there is
// none.
func (w *walk) routeConfig(s *Step, cfg *model.HTTPConnectionManager, req *message.Request) (rc *model.RouteConfig, from, why string) {
	switch {
	case cfg.Scoped != nil:
		return w.scoped(s, cfg, req)
	case cfg.InlineRoutes != nil:
		return cfg.InlineRoutes, "inline", ""
	}
	if rc = w.opt.Routes(cfg.RouteConfigName); rc == nil {
		s.detail("config", "%s: it has not come from RDS yet", cfg.RouteConfigName)
		return nil, "", "there is no route configuration"
	}
	return rc, version(&rc.Resource), ""
}

// scoped finds the route configuration by the scope of the request.
func (w *walk) scoped(s *Step, cfg *model.HTTPConnectionManager, req *message.Request) (rc *model.RouteConfig, from, why string) {
	var arena filter.Arena
	key, ok := hcm.RequestScope(cfg.Scoped.Key, req, &arena)
	if !ok {
		s.detail("scope", "none: the request lacks a header, or a part of one, that the key of %s is made of", cfg.Scoped.Name)
		return nil, "", "the request has no scope key; --header gives one"
	}
	scope := w.scope(cfg.Scoped, key)
	if scope == nil {
		s.detail("scope", "none: %s has none with the key %s", cfg.Scoped.Name, scopeKeyText(key))
		return nil, "", "no scope of " + cfg.Scoped.Name + " has the key " + scopeKeyText(key)
	}
	s.detail("scope", "%s of %s, by key %s", scope.Name, cfg.Scoped.Name, scopeKeyText(key))
	if scope.InlineRoutes != nil {
		return scope.InlineRoutes, "inline", ""
	}
	if rc = w.opt.Routes(scope.RouteConfigName); rc != nil {
		return rc, version(&rc.Resource), ""
	}
	why = "the route configuration " + scope.RouteConfigName + " of scope " + scope.Name + " has not come from RDS yet"
	if scope.OnDemand {
		why += w.wait(cfg, "the request waits until it is loaded", "it is loaded on demand, and there is no filter envoy.filters.http.on_demand")
	}
	s.detail("config", "%s", why)
	return nil, "", why
}

// scope finds a scope by its key, among the configured ones or those of SRDS.
func (w *walk) scope(cfg *model.ScopedRoutes, key string) *model.Scope {
	if cfg.Source != nil {
		if w.opt.Scope == nil {
			return nil
		}
		return w.opt.Scope(cfg.Source.ID(), key)
	}
	for _, s := range cfg.Scopes {
		if s.Key == key {
			return s
		}
	}
	return nil
}

// scopeKeyText is a key for people.
func scopeKeyText(key string) string {
	out := []byte{'"'}
	for i := range len(key) {
		if key[i] == model.ScopeSeparator[0] {
			out = append(out, `", "`...)
			continue
		}
		out = append(out, key[i])
	}
	return string(append(out, '"'))
}

// onDemand is the filter on_demand of a connection manager; ok is false without one.
func (w *walk) onDemand(cfg *model.HTTPConnectionManager) (f *ondemand.Config, name string, ok bool) {
	for _, f := range cfg.HTTPFilters {
		if c, ok := w.configOf(f.Config, f.Name, f.Discovery).(*ondemand.Config); ok && !f.Disabled {
			return c, f.Name, true
		}
	}
	return nil, "", false
}

// wait gives the end of a reason: whether a request waits for what is missing.
func (w *walk) wait(cfg *model.HTTPConnectionManager, waits, not string) string {
	if _, _, ok := w.onDemand(cfg); ok {
		return "; " + waits
	}
	return "; " + not
}

// missingHost is why no virtual host takes a request.
func (w *walk) missingHost(cfg *model.HTTPConnectionManager, rc *model.RouteConfig, authority string) string {
	why := "no virtual host of " + rc.Name + " has the domain " + authority
	if rc.VHDS != nil {
		why += ", nor one that VHDS has sent"
		why += w.wait(cfg, "a request waits while VHDS is asked for it", "VHDS is not asked for it, as there is no filter envoy.filters.http.on_demand")
	}
	return why
}

// fetched tells what happens when a cluster of a route is not there; empty when nothing does.
func (w *walk) fetched(cfg *model.HTTPConnectionManager, r *filter.Route) string {
	c, name, ok := w.onDemand(cfg)
	if !ok {
		return ""
	}
	if o := r.Override(name); o != nil {
		if own, ok := o.Config.(*ondemand.Config); ok {
			c = own
		}
	}
	if c.Clusters == nil {
		return ""
	}
	return "a request waits up to " + limit(c.Clusters.Timeout) + " while it is fetched on demand"
}
