package translate

//lint:file-ignore SA1019 Configurations still use these deprecated fields, so they take effect.

import (
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of routes.
const (
	defaultRouteTimeout = 15 * time.Second
	unset               = time.Duration(-1)
	lbMetadata          = "envoy.lb"
)

// routeAction translates a forwarding action.
func (c *call) routeAction(m *routev3.RouteAction, p *path) *model.RouteAction {
	out := &model.RouteAction{
		AppendXFH:           m.GetAppendXForwardedHost(),
		Timeout:             c.duration(m.GetTimeout(), defaultRouteTimeout, p, "timeout"),
		IdleTimeout:         c.duration(m.GetIdleTimeout(), 0, p, "idle_timeout"),
		HasIdleTimeout:      m.GetIdleTimeout() != nil,
		Retry:               c.retry(m.GetRetryPolicy(), p.field("retry_policy")),
		HighPriority:        m.GetPriority() == corev3.RoutingPriority_HIGH,
		IncludeVHRateLimits: m.GetIncludeVhRateLimits().GetValue(),
		RegexRewrite:        c.regexRewrite(m.GetRegexRewrite(), p.field("regex_rewrite")),
		PrefixRewrite:       m.GetPrefixRewrite(),
		HasPrefixRewrite:    m.GetPrefixRewrite() != "",
	}
	if s := m.GetMetadataMatch().GetFilterMetadata()[lbMetadata]; s != nil {
		out.MetadataMatch = plain(s)
	}
	if out.HasPrefixRewrite && out.RegexRewrite != nil {
		c.fail(p, "only one of prefix_rewrite or regex_rewrite can be specified")
	}
	out.RateLimits = c.rateLimits(m.GetRateLimits(), p)
	c.notFoundCode(m, out)
	c.routeCluster(m, out, p)
	c.hostRewrite(m, out, p)
	c.streamDurations(m, out, p)
	c.routeUpgrades(m, out, p)
	c.hashPolicies(m, out, p)
	out.Hedge = hedge(m.GetHedgePolicy())
	out.Mirrors = c.mirrors(m.GetRequestMirrorPolicies(), p)
	out.InternalRedirect = c.internalRedirect(m, p)
	return out
}

// notFoundCode translates cluster_not_found_response_code.
func (c *call) notFoundCode(m *routev3.RouteAction, out *model.RouteAction) {
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		out.ClusterNotFoundCode = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		out.ClusterNotFoundCode = 500
	default:
		out.ClusterNotFoundCode = 503
	}
}

// routeCluster translates where the request goes.
func (c *call) routeCluster(m *routev3.RouteAction, out *model.RouteAction, p *path) {
	switch k := m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		out.Cluster = k.Cluster
	case *routev3.RouteAction_ClusterHeader:
		out.ClusterHeader = strings.ToLower(k.ClusterHeader)
	case *routev3.RouteAction_WeightedClusters:
		out.WeightedByHash = k.WeightedClusters.GetUseHashPolicy().GetValue()
		out.WeightedRuntime = k.WeightedClusters.GetRuntimeKeyPrefix()
		out.WeightedHeader = strings.ToLower(k.WeightedClusters.GetHeaderName())
		out.Weighted = c.weighted(k.WeightedClusters, p.field("weighted_clusters"))
	case *routev3.RouteAction_ClusterSpecifierPlugin:
		c.namedPlugin(k.ClusterSpecifierPlugin, p.field("cluster_specifier_plugin"))
	case *routev3.RouteAction_InlineClusterSpecifierPlugin:
		c.specifierPlugin(k.InlineClusterSpecifierPlugin, p.field("inline_cluster_specifier_plugin"))
	}
}

// weighted translates a weighted split.
func (c *call) weighted(m *routev3.WeightedCluster, p *path) []model.WeightedCluster {
	var out []model.WeightedCluster
	var sum uint64
	for i, w := range m.GetClusters() {
		at := p.elem("clusters", i)
		switch {
		case w.GetClusterHeader() != "" && w.GetName() != "":
			c.fail(at, "only one of name or cluster_header can be specified")
		case w.GetClusterHeader() == "" && w.GetName() == "":
			c.fail(at, "at least one of name or cluster_header need to be specified")
		}
		o := model.WeightedCluster{
			Name: w.GetName(), Header: strings.ToLower(w.GetClusterHeader()), Weight: w.GetWeight().GetValue(), HostRewrite: w.GetHostRewriteLiteral(),
			Headers: c.mutations(headerLists{
				w.GetRequestHeadersToAdd(), w.GetRequestHeadersToRemove(), w.GetResponseHeadersToAdd(), w.GetResponseHeadersToRemove(),
			}, at),
			PerFilter: c.perFilter(w.GetTypedPerFilterConfig(), at),
		}
		if s := w.GetMetadataMatch().GetFilterMetadata()[lbMetadata]; s != nil {
			o.Metadata = plain(s)
		}
		sum += uint64(o.Weight)
		out = append(out, o)
	}
	c.weightSum(sum, p)
	if t := m.GetTotalWeight(); t != nil && uint64(t.GetValue()) != sum {
		c.fail(p.field("total_weight"), "sum of weights in the weighted_cluster should add up to %d", t.GetValue())
	}
	return out
}

// weightSum checks the sum of the weights of a split.
func (c *call) weightSum(sum uint64, p *path) {
	switch {
	case sum == 0:
		c.fail(p, "sum of weights in the weighted_cluster must be greater than 0")
	case sum > math.MaxUint32:
		c.fail(p, "the sum of weights of all weighted clusters exceeds %d", uint32(math.MaxUint32))
	}
}

// hostRewrite translates how the host is rewritten.
func (c *call) hostRewrite(m *routev3.RouteAction, out *model.RouteAction, p *path) {
	switch k := m.GetHostRewriteSpecifier().(type) {
	case *routev3.RouteAction_HostRewriteLiteral:
		out.HostRewrite = k.HostRewriteLiteral
	case *routev3.RouteAction_AutoHostRewrite:
		out.AutoHostRewrite = k.AutoHostRewrite.GetValue()
	case *routev3.RouteAction_HostRewriteHeader:
		out.HostRewriteHeader = strings.ToLower(k.HostRewriteHeader)
	case *routev3.RouteAction_HostRewritePathRegex:
		out.HostRewriteRegex = c.regexRewrite(k.HostRewritePathRegex, p.field("host_rewrite_path_regex"))
	}
}

// streamDurations translates max_stream_duration and the deprecated gRPC timeout fields.
func (c *call) streamDurations(m *routev3.RouteAction, out *model.RouteAction, p *path) {
	d, at := m.GetMaxStreamDuration(), p.field("max_stream_duration")
	out.MaxStreamDuration = c.duration(d.GetMaxStreamDuration(), 0, at, "max_stream_duration")
	out.HasMaxStreamDuration = d.GetMaxStreamDuration() != nil
	out.GRPCTimeoutMax = c.duration(m.GetMaxGrpcTimeout(), unset, p, "max_grpc_timeout")
	out.GRPCTimeoutOffset = c.duration(m.GetGrpcTimeoutOffset(), unset, p, "grpc_timeout_offset")
	if out.StreamTimeouts = d != nil; out.StreamTimeouts {
		out.GRPCTimeoutMax = c.duration(d.GetGrpcTimeoutHeaderMax(), unset, at, "grpc_timeout_header_max")
		out.GRPCTimeoutOffset = c.duration(d.GetGrpcTimeoutHeaderOffset(), unset, at, "grpc_timeout_header_offset")
	}
}

// routeUpgrades translates the upgrade types of a route.
func (c *call) routeUpgrades(m *routev3.RouteAction, out *model.RouteAction, p *path) {
	seen := map[string]bool{}
	for i, u := range m.GetUpgradeConfigs() {
		at := p.elem("upgrade_configs", i)
		key := strings.ToLower(u.GetUpgradeType())
		if seen[key] {
			c.fail(at.field("upgrade_type"), "duplicate upgrade %s", u.GetUpgradeType())
		}
		seen[key] = true
		if u.GetConnectConfig() != nil && key != "connect" {
			c.fail(at.field("connect_config"), "non-CONNECT upgrade type %s has ConnectConfig", u.GetUpgradeType())
		}
		out.Upgrades = append(out.Upgrades, model.Upgrade{
			Type: u.GetUpgradeType(), Disabled: !isSet(u.GetEnabled(), true),
			Terminate: u.GetConnectConfig() != nil, TerminatePost: u.GetConnectConfig().GetAllowPost(),
		})
	}
}

// hashPolicies translates what the hash of consistent balancers is made of.
func (c *call) hashPolicies(m *routev3.RouteAction, out *model.RouteAction, p *path) {
	for i, h := range m.GetHashPolicy() {
		at := p.elem("hash_policy", i)
		o := model.HashPolicy{Terminal: h.GetTerminal()}
		switch k := h.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			o.Header = strings.ToLower(k.Header.GetHeaderName())
			o.HeaderRewrite = c.regexRewrite(k.Header.GetRegexRewrite(), at.field("header").field("regex_rewrite"))
		case *routev3.RouteAction_HashPolicy_Cookie_:
			o.Cookie, o.CookiePath = k.Cookie.GetName(), k.Cookie.GetPath()
			o.CookieTTL = c.duration(k.Cookie.GetTtl(), unset, at.field("cookie"), "ttl")
			for _, a := range k.Cookie.GetAttributes() {
				o.CookieAttributes = append(o.CookieAttributes, model.CookieAttribute{Name: a.GetName(), Value: a.GetValue()})
			}
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			o.SourceIP = k.ConnectionProperties.GetSourceIp()
			if !o.SourceIP {
				continue
			}
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			o.QueryParameter = k.QueryParameter.GetName()
		case *routev3.RouteAction_HashPolicy_FilterState_:
			o.FilterState = k.FilterState.GetKey()
		}
		out.HashPolicy = append(out.HashPolicy, o)
	}
}
