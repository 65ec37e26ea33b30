package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	allowv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	safev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// mirrors translates where copies of requests go.
func (c *call) mirrors(list []*routev3.RouteAction_RequestMirrorPolicy, p *path) []model.Mirror {
	var out []model.Mirror
	for i, m := range list {
		at := p.elem("request_mirror_policies", i)
		if (m.GetCluster() == "") == (m.GetClusterHeader() == "") {
			c.fail(at, "exactly one of cluster or cluster_header in request mirror policy can be specified")
			continue
		}
		out = append(out, model.Mirror{
			Cluster: m.GetCluster(), ClusterHeader: strings.ToLower(m.GetClusterHeader()),
			Fraction: fraction(m.GetRuntimeFraction()), KeepHost: m.GetDisableShadowHostSuffixAppend(),
		})
	}
	return out
}

// internalRedirect translates which redirects of the upstream are followed; nil when none are. The policy comes before
// the deprecated action.
func (c *call) internalRedirect(m *routev3.RouteAction, p *path) *model.InternalRedirect {
	if m.GetInternalRedirectPolicy() == nil {
		if m.GetInternalRedirectAction() != routev3.RouteAction_HANDLE_INTERNAL_REDIRECT {
			return nil
		}
		return &model.InternalRedirect{Max: u32(m.GetMaxInternalRedirects(), 1), Codes: []int{302}}
	}
	policy, p := m.GetInternalRedirectPolicy(), p.field("internal_redirect_policy")
	out := &model.InternalRedirect{
		Max: u32(policy.GetMaxInternalRedirects(), 1), AllowCrossScheme: policy.GetAllowCrossSchemeRedirect(),
		CopyHeaders: lower(policy.GetResponseHeadersToCopy()),
	}
	for _, code := range policy.GetRedirectResponseCodes() {
		// As in Envoy, codes that are no redirections are passed over.
		if slices.Contains([]uint32{301, 302, 303, 307, 308}, code) {
			out.Codes = append(out.Codes, int(code))
		}
	}
	if len(out.Codes) == 0 && len(policy.GetRedirectResponseCodes()) == 0 {
		out.Codes = []int{302}
	}
	for i, name := range out.CopyHeaders {
		if name == "" || name[0] == ':' || name == "host" {
			c.fail(p.elem("response_headers_to_copy", i), "%q cannot be copied: ':'-prefixed and host headers may not be", name)
		}
	}
	c.redirectPredicates(policy.GetPredicates(), out, p)
	return out
}

// redirectPredicates translates what a redirect's target must fulfil.
func (c *call) redirectPredicates(list []*corev3.TypedExtensionConfig, out *model.InternalRedirect, p *path) {
	for i, e := range list {
		f, config := c.lookup(extension.RedirectPredicates, e.GetName(), e.GetTypedConfig(), false, p.elem("predicates", i))
		if f == nil {
			continue
		}
		switch k := config.(type) {
		case *allowv3.AllowListedRoutesConfig:
			out.AllowedRoutes = append(out.AllowedRoutes, k.GetAllowedRouteNames())
		case *previousroutesv3.PreviousRoutesConfig:
			out.PreviousRoutes = true
		case *safev3.SafeCrossSchemeConfig:
			out.SafeCrossScheme = true
		}
	}
}
