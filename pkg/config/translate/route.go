package translate

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// defaultDirectBody is the default limit of direct response bodies in bytes.
const defaultDirectBody = 4096

// RouteConfig translates a route configuration that was delivered by RDS.
func (t *Translator) RouteConfig(m *routev3.RouteConfiguration, meta Meta) (*model.RouteConfig, []Warning, error) {
	c := t.begin(m, meta, resourceName("route configuration", m.GetName()))
	out := c.routes(m, nil, false)
	warnings, err := c.end(m)
	if err != nil {
		return nil, warnings, err
	}
	return out, warnings, nil
}

// routes translates a route configuration. validate is the default of validate_clusters.
func (c *call) routes(m *routev3.RouteConfiguration, p *path, validate bool) *model.RouteConfig {
	out := &model.RouteConfig{
		Resource: c.identity(m.GetName(), m),
		Headers: c.mutations(headerLists{
			m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove(), m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove(),
		}, p),
		InternalOnlyHeaders:    lower(m.GetInternalOnlyHeaders()),
		IgnorePortInHost:       m.GetIgnorePortInHostMatching(),
		IgnorePathParameters:   m.GetIgnorePathParametersInPathMatching(),
		MostSpecificWins:       m.GetMostSpecificHeaderMutationsWins(),
		MaxDirectResponseBytes: int(u32(m.GetMaxDirectResponseBodySizeBytes(), defaultDirectBody)),
		PerFilter:              c.perFilter(m.GetTypedPerFilterConfig(), p),
		Mirrors:                c.mirrors(m.GetRequestMirrorPolicies(), p),
		ValidateClusters:       isSet(m.GetValidateClusters(), validate),
		VHDS:                   c.vhds(m.GetVhds(), p.field("vhds")),
	}
	c.specifierPlugins(m.GetClusterSpecifierPlugins(), p)
	for i, vh := range m.GetVirtualHosts() {
		out.VirtualHosts = append(out.VirtualHosts, c.virtualHost(vh, out.MaxDirectResponseBytes, p.elem("virtual_hosts", i)))
	}
	c.uniqueDomains(out, p)
	return out
}

// uniqueDomains checks that no domain is in the configuration twice.
func (c *call) uniqueDomains(r *model.RouteConfig, p *path) {
	domains, names := map[string]bool{}, map[string]bool{}
	for i, vh := range r.VirtualHosts {
		at := p.elem("virtual_hosts", i)
		if names[vh.Name] {
			c.warn(at.field("name"), "virtual host name %s is used twice: their statistics are one", vh.Name)
		}
		names[vh.Name] = true
		for j, d := range vh.Domains {
			switch {
			case !domains[d]:
			case d == "*":
				c.fail(at.elem("domains", j), "only a single wildcard domain is permitted in route %s", r.Name)
			default:
				c.fail(at.elem("domains", j), "only unique values for domains are permitted; duplicate entry of domain %s in route %s", d, r.Name)
			}
			domains[d] = true
		}
	}
}

// virtualHost translates one virtual host.
func (c *call) virtualHost(m *routev3.VirtualHost, maxBody int, p *path) *model.VirtualHost {
	out := &model.VirtualHost{
		Name:    m.GetName(),
		Domains: lower(m.GetDomains()),
		Headers: c.mutations(headerLists{
			m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove(), m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove(),
		}, p),
		Retry:                         c.retry(m.GetRetryPolicy(), p.field("retry_policy")),
		Hedge:                         hedge(m.GetHedgePolicy()),
		Mirrors:                       c.mirrors(m.GetRequestMirrorPolicies(), p),
		IncludeTimeoutRetry:           m.GetIncludeIsTimeoutRetryHeader(),
		PerFilter:                     c.perFilter(m.GetTypedPerFilterConfig(), p),
		VirtualClusters:               c.virtualClusters(m.GetVirtualClusters(), p),
		RateLimits:                    c.rateLimits(m.GetRateLimits(), p),
		IncludeAttemptCount:           m.GetIncludeRequestAttemptCount(),
		IncludeAttemptCountInResponse: m.GetIncludeAttemptCountInResponse(),
	}
	out.BufferLimit, out.HasBufferLimit = c.bufferLimit(m.GetPerRequestBufferLimitBytes(), m.GetRequestBodyBufferLimit(), p)
	switch m.GetRequireTls() {
	case routev3.VirtualHost_EXTERNAL_ONLY:
		out.RequireTLS = model.TLSExternalOnly
	case routev3.VirtualHost_ALL:
		out.RequireTLS = model.TLSAll
	}
	if m.GetMatcher() != nil {
		c.routeTree(m, out, maxBody, p)
	}
	for i, d := range m.GetDomains() {
		if len(d) > 1 && strings.Contains(d[1:len(d)-1], "*") || len(d) > 1 && d[0] == '*' && d[len(d)-1] == '*' {
			c.fail(p.elem("domains", i), "a wildcard is only allowed at one end of domain %q", d)
		}
	}
	for i, r := range m.GetRoutes() {
		out.Routes = append(out.Routes, c.route(r, maxBody, p.elem("routes", i)))
	}
	return out
}

// route translates one route.
func (c *call) route(m *routev3.Route, maxBody int, p *path) *model.Route {
	out := &model.Route{
		Name:  m.GetName(),
		Match: c.routeMatch(m.GetMatch(), p.field("match")),
		Headers: c.mutations(headerLists{
			m.GetRequestHeadersToAdd(), m.GetRequestHeadersToRemove(), m.GetResponseHeadersToAdd(), m.GetResponseHeadersToRemove(),
		}, p),
		PerFilter:  c.perFilter(m.GetTypedPerFilterConfig(), p),
		Metadata:   metadata(m.GetMetadata()),
		StatPrefix: m.GetStatPrefix(),
	}
	out.BufferLimit, out.HasBufferLimit = c.bufferLimit(m.GetPerRequestBufferLimitBytes(), m.GetRequestBodyBufferLimit(), p)
	switch a := m.GetAction().(type) {
	case *routev3.Route_Route:
		out.Action = c.routeAction(a.Route, p.field("route"))
		c.templateRewrite(a.Route.GetPathRewritePolicy(), out, p.field("route"))
	case *routev3.Route_Redirect:
		out.Redirect = c.redirect(a.Redirect, p.field("redirect"))
	case *routev3.Route_DirectResponse:
		out.Direct = c.direct(a.DirectResponse, maxBody, p.field("direct_response"))
	case *routev3.Route_FilterAction:
		c.unsupported(p.field("filter_action"))
	case *routev3.Route_NonForwardingAction:
		c.unsupported(p.field("non_forwarding_action"))
	}
	return out
}

// redirect translates a redirection.
func (c *call) redirect(m *routev3.RedirectAction, p *path) *model.Redirect {
	codes := map[routev3.RedirectAction_RedirectResponseCode]int{
		routev3.RedirectAction_MOVED_PERMANENTLY:  301,
		routev3.RedirectAction_FOUND:              302,
		routev3.RedirectAction_SEE_OTHER:          303,
		routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
		routev3.RedirectAction_PERMANENT_REDIRECT: 308,
	}
	out := &model.Redirect{
		Code:       codes[m.GetResponseCode()],
		HTTPS:      m.GetHttpsRedirect(),
		Scheme:     m.GetSchemeRedirect(),
		Host:       m.GetHostRedirect(),
		Port:       uint32(c.port(m.GetPortRedirect(), p.field("port_redirect"))),
		Path:       m.GetPathRedirect(),
		StripQuery: m.GetStripQuery(),
	}
	if r, ok := m.GetPathRewriteSpecifier().(*routev3.RedirectAction_PrefixRewrite); ok {
		out.PrefixRewrite, out.HasPrefix = r.PrefixRewrite, true
	}
	out.RegexRewrite = c.regexRewrite(m.GetRegexRewrite(), p.field("regex_rewrite"))
	return out
}

// direct translates a fixed response.
func (c *call) direct(m *routev3.DirectResponseAction, maxBody int, p *path) *model.DirectResponse {
	out := &model.DirectResponse{Status: int(m.GetStatus()), Format: c.replyBody(m.GetBodyFormat(), p.field("body_format"))}
	if m.GetBody() == nil {
		return out
	}
	body, file, ok := c.data(m.GetBody(), p.field("body"))
	if !ok {
		return out
	}
	if len(body) > maxBody {
		what := "response body"
		if file != "" {
			what += " file " + file
		}
		c.fail(p.field("body"), "%s size is %d bytes; maximum is %d", what, len(body), maxBody)
	}
	out.Body = body
	return out
}
