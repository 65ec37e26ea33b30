package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/config/runtime"
)

// RuntimeLayer translates a layer of the runtime that RTDS delivered.
func (t *Translator) RuntimeLayer(m *runtimev3.Runtime, meta Meta) (*runtime.Layer, []Warning, error) {
	c := t.begin(m, meta, resourceName("runtime layer", m.GetName()))
	values, err := runtime.Flatten(m.GetLayer())
	if err != nil {
		c.fail((*path)(nil).field("layer"), "%v", err)
	}
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return &runtime.Layer{Name: m.GetName(), Values: values}, warnings, nil
}

// SplitHost takes the name of a virtual host of VHDS apart: "<route configuration>/<anything>".
func SplitHost(resource string) (routes string, ok bool) {
	i := strings.LastIndexByte(resource, '/')
	return resource[:max(i, 0)], i > 0 && i < len(resource)-1
}

// CollectionOf is the collection that an endpoint of LEDS belongs to by its name.
func CollectionOf(endpoint string) (collection string, ok bool) {
	i := strings.LastIndexByte(endpoint, '/')
	return endpoint[:max(i, 0)] + "/*", i > 0 && i < len(endpoint)-1
}

// deliveries checks what is delivered one by one: scopes, virtual hosts, endpoints and runtime layers.
func (r *references) deliveries() {
	for _, name := range slices.Sorted(maps.Keys(r.Scopes)) {
		r.scope(resourceName("scoped route configuration", name), r.Scopes[name])
	}
	r.hosts()
	for _, name := range slices.Sorted(maps.Keys(r.Endpoints)) {
		r.collections(resourceName("load assignment", name), r.Endpoints[name])
	}
	for i, l := range r.Runtime {
		if l.RTDS == nil {
			continue
		}
		at := fmt.Sprintf("layered_runtime.layers[%d].rtds_layer", i)
		r.source("", at+".rtds_config", l.RTDS.Source)
		r.delivered(missing{"", at + ".name", "runtime layer", l.RTDS.Resource}, r.Layers[l.RTDS.Resource])
	}
}

// scope checks a scope that SRDS delivered.
func (r *references) scope(resource string, s *model.Scope) {
	if s.InlineRoutes != nil {
		r.routes(resource, "route_configuration", s.InlineRoutes)
		return
	}
	name := s.RouteConfigName
	r.delivered(missing{resource, "route_configuration_name", "route configuration", name}, r.Routes[name] != nil)
}

// hosts checks the virtual hosts of VHDS against the route configurations that they are for, and against each other.
func (r *references) hosts() {
	owners := map[string]map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Hosts)) {
		resource, host := resourceName("virtual host", name), r.Hosts[name]
		routes, _ := SplitHost(name)
		to := r.Routes[routes]
		if to == nil {
			r.delivered(missing{resource, "", "route configuration", routes}, false)
			to = &model.RouteConfig{}
		} else if to.VHDS == nil {
			r.warn(missing{resource, "", "", ""}, "the route configuration '%s' has no vhds: nothing asks for the virtual host", routes)
		}
		if owners[routes] == nil {
			owners[routes] = domainsOf(to)
		}
		for i, d := range host.Domains {
			if owner := owners[routes][d]; owner != "" {
				r.errs = append(r.errs, &FieldError{
					Resource: resource, Path: fmt.Sprintf("domains[%d]", i), Code: CodeDuplicate, Reason: HostConflict(d, host.Name, owner, routes),
				})
				continue
			}
			owners[routes][d] = host.Name
		}
		r.host(resource, "", host, to.ValidateClusters)
	}
}

// domainsOf are the names of the virtual hosts of a route configuration by their domains.
func domainsOf(c *model.RouteConfig) map[string]string {
	out := map[string]string{}
	for _, vh := range c.VirtualHosts {
		for _, d := range vh.Domains {
			out[d] = vh.Name
		}
	}
	return out
}

// HostConflict is the text about a virtual host of VHDS that wants the domain of another one.
func HostConflict(domain, host, owner, routes string) string {
	return fmt.Sprintf("only unique values for domains are permitted; domain %s of virtual host %s is that of %s in route %s", domain, host, owner, routes)
}

// collections checks the collections of endpoints that an assignment names.
func (r *references) collections(resource string, a *model.LoadAssignment) {
	for i, l := range a.Localities {
		if l.LEDS == nil {
			continue
		}
		at := fmt.Sprintf("endpoints[%d].leds_cluster_locality_config", i)
		r.source(resource, at+".leds_config", l.LEDS.Source)
		r.delivered(missing{resource, at + ".leds_collection_name", "endpoint collection", l.LEDS.Collection}, r.Collections[l.LEDS.Collection])
	}
}
