package filter

import "github.com/weir-proxy/weir/pkg/config/model"

// Mirrors are the mirror policies of a route with an action; without own ones those of the virtual host, then of the route
// configuration.
func (r *Route) Mirrors() []model.Mirror {
	if m := r.Route.Action.Mirrors; len(m) > 0 {
		return m
	}
	if m := r.VirtualHost.Mirrors; len(m) > 0 {
		return m
	}
	return r.Config.Mirrors
}
