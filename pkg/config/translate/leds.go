package translate

import (
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// localityEndpoints translates the endpoints of a locality, or where they come from.
func (c *call) localityEndpoints(m *endpointv3.LocalityLbEndpoints, out *model.Locality, p *path, names bool) {
	list, at := m.GetLbEndpoints(), p
	switch k := m.GetLbConfig().(type) {
	case *endpointv3.LocalityLbEndpoints_LedsClusterLocalityConfig:
		out.LEDS = c.leds(k.LedsClusterLocalityConfig, p.field("leds_cluster_locality_config"), names)
		if len(list) > 0 {
			c.warn(p.field("lb_endpoints"), "ignored, because leds_cluster_locality_config is set")
		}
		return
	case *endpointv3.LocalityLbEndpoints_LoadBalancerEndpoints:
		if len(list) > 0 {
			c.warn(p.field("lb_endpoints"), "ignored, because load_balancer_endpoints is set")
		}
		list, at = k.LoadBalancerEndpoints.GetLbEndpoints(), p.field("load_balancer_endpoints")
	}
	out.Endpoints = make([]*model.Endpoint, 0, len(list))
	for j, e := range list {
		if endpoint := c.endpoint(e, at.elem("lb_endpoints", j), names); endpoint != nil {
			out.Endpoints = append(out.Endpoints, endpoint)
		}
	}
}

// leds translates where the endpoints of a locality come from. inline tells that the assignment is part of a cluster.
func (c *call) leds(m *endpointv3.LedsClusterLocalityConfig, p *path, inline bool) *model.LEDS {
	out := &model.LEDS{Source: c.source(m.GetLedsConfig(), p.field("leds_config")), Collection: m.GetLedsCollectionName()}
	switch src := out.Source; {
	case inline:
		c.fail(p, "LEDS works with EDS only")
	case src == nil:
		c.fail(p.field("leds_config"), "must be set")
	case src.Kind == model.SourcePath || src.Kind == model.SourceAPI && src.API != nil && !src.API.Type.Delta():
		c.fail(p.field("leds_config"), "LEDS needs the incremental protocol")
	}
	if !strings.HasSuffix(out.Collection, "/*") {
		c.fail(p.field("leds_collection_name"), "only glob collections are supported, whose names end with /*; is %q", out.Collection)
	}
	return out
}

// Endpoint translates an endpoint that LEDS delivered. It must have an IP address or a pipe.
func (t *Translator) Endpoint(name string, m *endpointv3.LbEndpoint, meta Meta) (*model.Endpoint, []Warning, error) {
	c := t.begin(m, meta, resourceName("endpoint", name))
	out := c.endpoint(m, nil, false)
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}
