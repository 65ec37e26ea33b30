package translate

import (
	"fmt"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// routes checks the clusters of a route configuration: unknown ones are errors where validate_clusters holds.
func (r *references) routes(resource, at string, c *model.RouteConfig) {
	if at != "" {
		at += "."
	}
	r.mirrors(resource, at, c.Mirrors, c.ValidateClusters)
	for i, vh := range c.VirtualHosts {
		r.host(resource, fmt.Sprintf("%svirtual_hosts[%d].", at, i), vh, c.ValidateClusters)
	}
}

// host checks the clusters of a virtual host; at is the beginning of their paths.
func (r *references) host(resource, at string, vh *model.VirtualHost, validate bool) {
	r.mirrors(resource, at, vh.Mirrors, validate)
	for j, route := range vh.Routes {
		r.route(resource, fmt.Sprintf("%sroutes[%d].route.", at, j), route, validate)
	}
	for j, route := range vh.MatcherRoutes {
		r.route(resource, fmt.Sprintf("%smatcher.(route %d).route.", at, j+1), route, validate)
	}
}

// notRouted is what becomes of requests to an unknown cluster.
const notRouted = "requests are answered with the cluster-not-found status"

// route checks the clusters of one route; at is the beginning of their paths.
func (r *references) route(resource, at string, route *model.Route, validate bool) {
	if route.Action == nil {
		return
	}
	a := route.Action
	r.cluster(resource, at+"cluster", a.Cluster, validate, notRouted)
	for i, w := range a.Weighted {
		r.cluster(resource, fmt.Sprintf("%sweighted_clusters.clusters[%d].name", at, i), w.Name, validate, notRouted)
	}
	r.mirrors(resource, at, a.Mirrors, validate)
}

// mirrors checks where copies of requests go; at is the beginning of their paths.
func (r *references) mirrors(resource, at string, list []model.Mirror, validate bool) {
	for i, m := range list {
		r.cluster(resource, fmt.Sprintf("%srequest_mirror_policies[%d].cluster", at, i), m.Cluster, validate, notRouted)
	}
}

// cluster checks one reference to a cluster.
func (r *references) cluster(resource, at, name string, validate bool, effect string) {
	m := missing{resource, at, "cluster", name}
	switch {
	case name == "" || r.has(m.kind, name, r.Clusters[name] != nil):
	case validate:
		r.fail(m, "route: unknown cluster '%s'", name)
	case !r.DynamicClusters:
		r.warn(m, "unknown cluster '%s': %s until it exists", name, effect)
	}
}
