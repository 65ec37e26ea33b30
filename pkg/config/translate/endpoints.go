package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// defaultOverprovisioning is in percent.
const defaultOverprovisioning = 140

// LoadAssignment translates endpoints that EDS delivered. They must have IP addresses or pipes.
func (t *Translator) LoadAssignment(m *endpointv3.ClusterLoadAssignment, meta Meta) (*model.LoadAssignment, []Warning, error) {
	c := t.begin(m, meta, resourceName("load assignment", m.GetClusterName()))
	out := c.loadAssignment(m, nil, false)
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

// loadAssignment translates endpoints; names tells whether hosts may be names that DNS resolves.
func (c *call) loadAssignment(m *endpointv3.ClusterLoadAssignment, p *path, names bool) *model.LoadAssignment {
	out := &model.LoadAssignment{
		Resource:               c.identity(m.GetClusterName(), m),
		OverprovisioningFactor: u32(m.GetPolicy().GetOverprovisioningFactor(), defaultOverprovisioning),
	}
	out.StaleAfter = c.duration(m.GetPolicy().GetEndpointStaleAfter(), 0, p.field("policy"), "endpoint_stale_after")
	for _, d := range m.GetPolicy().GetDropOverloads() {
		f := d.GetDropPercentage()
		percent := float64(f.GetNumerator()) * 100 / float64(denominator(f.GetDenominator()))
		out.DropOverloads = append(out.DropOverloads, model.DropOverload{Category: d.GetCategory(), Percent: min(percent, 100)})
	}
	for i, l := range m.GetEndpoints() {
		at := p.elem("endpoints", i)
		locality := &model.Locality{
			Region: l.GetLocality().GetRegion(), Zone: l.GetLocality().GetZone(), SubZone: l.GetLocality().GetSubZone(),
			Priority: l.GetPriority(), Weight: l.GetLoadBalancingWeight().GetValue(),
		}
		c.localityEndpoints(l, locality, at, names)
		out.Localities = append(out.Localities, locality)
	}
	return out
}

// endpoint translates one endpoint; nil after an error.
func (c *call) endpoint(m *endpointv3.LbEndpoint, p *path, names bool) *model.Endpoint {
	e := m.GetEndpoint()
	if e == nil {
		c.fail(p, "only endpoint is supported, which must be set")
		return nil
	}
	out := &model.Endpoint{
		Hostname: e.GetHostname(), Weight: max(u32(m.GetLoadBalancingWeight(), 1), 1),
		Health: health(m.GetHealthStatus()), Metadata: metadata(m.GetMetadata()),
	}
	if check := e.GetHealthCheckConfig(); check != nil {
		out.HealthCheck = c.endpointCheck(check, p.field("endpoint").field("health_check_config"))
	}
	if ip, ok := plainAddress(e.GetAddress().GetSocketAddress()); ok {
		out.Address, out.Port = ip, ip.Port()
	} else if !c.endpointAddress(e.GetAddress(), out, p.field("endpoint").field("address"), names) {
		return nil
	}
	if len(e.GetAdditionalAddresses()) > 0 {
		c.moreAddresses(e, out, p.field("endpoint"))
	}
	return out
}

// endpointAddress translates where an endpoint is; false after an error.
func (c *call) endpointAddress(m *corev3.Address, out *model.Endpoint, at *path, names bool) bool {
	switch a := m.GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		s := at.field("socket_address")
		addr, ok := c.anyAddress(a.SocketAddress, s)
		if !ok {
			return false
		}
		if !addr.IP.IsValid() && !names {
			c.fail(s.field("address"), "malformed IP address: %s. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'", addr.Host)
			return false
		}
		out.Host, out.Port = addr.Host, addr.Port
		if addr.IP.IsValid() {
			out.Address = addr.addrPort()
		}
	case *corev3.Address_Pipe:
		out.Pipe = a.Pipe.GetPath()
	case *corev3.Address_EnvoyInternalAddress:
		c.unsupported(at.field("envoy_internal_address"))
		return false
	default:
		c.fail(at, "an address must be set")
		return false
	}
	return true
}

// moreAddresses translates the addresses that an endpoint has beside its first one.
func (c *call) moreAddresses(e *endpointv3.Endpoint, out *model.Endpoint, p *path) {
	for i, a := range e.GetAdditionalAddresses() {
		at := p.elem("additional_addresses", i).field("address")
		s := a.GetAddress().GetSocketAddress()
		if s == nil {
			c.fail(at, "only socket addresses are supported")
			continue
		}
		if ip, ok := c.ipAddress(s, at.field("socket_address")); ok {
			out.AdditionalAddresses = append(out.AdditionalAddresses, ip)
		}
	}
}

// health translates what EDS says of an endpoint.
func health(s corev3.HealthStatus) model.HealthStatus {
	switch s {
	case corev3.HealthStatus_HEALTHY:
		return model.HealthHealthy
	case corev3.HealthStatus_UNHEALTHY:
		return model.HealthUnhealthy
	case corev3.HealthStatus_DRAINING:
		return model.HealthDraining
	case corev3.HealthStatus_TIMEOUT:
		return model.HealthTimeout
	case corev3.HealthStatus_DEGRADED:
		return model.HealthDegraded
	}
	return model.HealthUnknown
}
