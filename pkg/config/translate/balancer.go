package translate

import (
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	csrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	providedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/cluster_provided/v3"
	commonlbv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	maglevv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	randomv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	ringv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	wrrv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-proxy/weir/pkg/config/extension"
	"github.com/weir-proxy/weir/pkg/config/model"
)

// Envoy's defaults of the least request balancer.
const (
	defaultChoices     = 2
	defaultRequestBias = 1
)

// Envoy's defaults of slow start.
const (
	defaultAggression = 1
	defaultMinWeight  = 0.1
)

// maxPolicyDepth bounds how deep load balancing policies may be nested.
const maxPolicyDepth = 8

// balancer translates how a host is chosen.
func (c *call) balancer(m *clusterv3.Cluster, out *model.Cluster) {
	var root *path
	at := root.field("lb_policy")
	out.LeastRequest = model.LeastRequest{ChoiceCount: defaultChoices, ActiveRequestBias: defaultRequestBias}
	out.LocalityWeighted = m.GetLoadBalancingPolicy() == nil && m.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil
	if m.GetLoadBalancingPolicy() == nil {
		out.FailOnPanic = m.GetCommonLbConfig().GetZoneAwareLbConfig().GetFailTrafficOnPanic()
	}
	switch policy := m.GetLbPolicy(); {
	case m.GetLoadBalancingPolicy() != nil:
		c.policies(m.GetLoadBalancingPolicy(), out, root.field("load_balancing_policy"), 0)
	case policy == clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG:
		c.fail(root.field("load_balancing_policy"), "field load_balancing_policy need to be set")
	case policy == clusterv3.Cluster_LEAST_REQUEST:
		out.LB = model.LBLeastRequest
		l := m.GetLeastRequestLbConfig()
		c.leastRequest(out, l.GetChoiceCount(), l.GetActiveRequestBias())
		c.slowStart(l.GetSlowStartConfig(), out, root.field("least_request_lb_config"))
	case policy == clusterv3.Cluster_RING_HASH:
		out.LB = model.LBRingHash
		c.legacyHash(m, out)
	case policy == clusterv3.Cluster_MAGLEV:
		out.LB = model.LBMaglev
		c.legacyHash(m, out)
	case policy == clusterv3.Cluster_RANDOM:
		out.LB = model.LBRandom
	case policy == clusterv3.Cluster_CLUSTER_PROVIDED:
		out.LB = model.LBClusterProvided
	case policy == clusterv3.Cluster_ROUND_ROBIN:
		c.slowStart(m.GetRoundRobinLbConfig().GetSlowStartConfig(), out, root.field("round_robin_lb_config"))
	default:
		c.lacks(at, "%s is not supported by weir yet: ROUND_ROBIN is used", policy)
	}
	if o := m.GetOriginalDstLbConfig(); o != nil {
		c.originalDst(o, out, root.field("original_dst_lb_config"))
	}
	switch {
	case out.Type == model.ClusterOriginalDst && out.LB != model.LBClusterProvided:
		c.fail(at, "cluster: LB policy %s is not valid for Cluster type ORIGINAL_DST. Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'", m.GetLbPolicy())
	case out.Type != model.ClusterOriginalDst && out.LB == model.LBClusterProvided:
		c.fail(at, "cluster: LB policy CLUSTER_PROVIDED is only valid for cluster types that bring their own balancer, such as ORIGINAL_DST")
	}
}

// originalDst translates the options of ORIGINAL_DST clusters.
func (c *call) originalDst(m *clusterv3.Cluster_OriginalDstLbConfig, out *model.Cluster, p *path) {
	out.OriginalDst.UseHTTPHeader = m.GetUseHttpHeader()
	out.OriginalDst.PortOverride = c.port(m.GetUpstreamPortOverride().GetValue(), p.field("upstream_port_override"))
	if name := m.GetHttpHeaderName(); name != "" {
		if !m.GetUseHttpHeader() {
			c.fail(p.field("http_header_name"), "ORIGINAL_DST cluster: invalid config http_header_name=%s and use_http_header=false. Set use_http_header to true if http_header_name is desired", name)
		}
		out.OriginalDst.HTTPHeader = strings.ToLower(name)
	}
}

// leastRequest fills in the options of the least request balancer.
func (c *call) leastRequest(out *model.Cluster, choices *wrapperspb.UInt32Value, bias *corev3.RuntimeDouble) {
	out.LeastRequest.ChoiceCount = int(max(u32(choices, defaultChoices), defaultChoices))
	if bias != nil {
		out.LeastRequest.ActiveRequestBias, out.LeastRequest.BiasKey = bias.GetDefaultValue(), bias.GetRuntimeKey()
	}
}

// slowStarting is slow_start_config as a cluster and as a policy have it.
type slowStarting interface {
	GetSlowStartWindow() *durationpb.Duration
	GetAggression() *corev3.RuntimeDouble
	GetMinWeightPercent() *typev3.Percent
}

// slowStart translates the slow_start_config of the options at p. Without a window there is no slow start, as in Envoy.
func (c *call) slowStart(m slowStarting, out *model.Cluster, p *path) {
	at := p.field("slow_start_config")
	window := c.duration(m.GetSlowStartWindow(), 0, at, "slow_start_window")
	if window < time.Millisecond { // Envoy counts in those
		return
	}
	out.SlowStart = model.SlowStart{Window: window, Aggression: defaultAggression, MinWeight: defaultMinWeight}
	if a := m.GetAggression(); a != nil {
		out.SlowStart.AggressionKey = a.GetRuntimeKey()
		if out.SlowStart.Aggression = a.GetDefaultValue(); !(a.GetDefaultValue() > 0) {
			c.warn(at.field("aggression").field("default_value"), "it is not greater than 0: 1 is used")
			out.SlowStart.Aggression = defaultAggression
		}
	}
	if least := m.GetMinWeightPercent(); least != nil {
		out.SlowStart.MinWeight = least.GetValue() / 100
	}
}

// localities notes whether a policy heeds the weights of localities, and what it does in panic.
func localities(m *commonlbv3.LocalityLbConfig, out *model.Cluster) {
	out.FailOnPanic = m.GetZoneAwareLbConfig().GetFailTrafficOnPanic()
	out.LocalityWeighted = out.LocalityWeighted || m.GetLocalityWeightedLbConfig() != nil
}

// policies takes the first policy of the list that weir has.
func (c *call) policies(m *clusterv3.LoadBalancingPolicy, out *model.Cluster, p *path, depth int) {
	if depth > maxPolicyDepth {
		c.fail(p, "load balancing policies are nested too deep")
		return
	}
	var names []string
	known := len(m.GetPolicies()) > 0
	for i, policy := range m.GetPolicies() {
		e := policy.GetTypedExtensionConfig()
		at := p.elem("policies", i).field("typed_extension_config")
		typeURL := ""
		if e.GetTypedConfig() != nil {
			typeURL = c.typeOf(e.GetTypedConfig())
		}
		if _, err := c.t.registry.Lookup(extension.LoadBalancers, typeURL, e.GetName()); err != nil {
			names = append(names, e.GetName())
			known = known && isKnown(err)
			continue
		}
		_, config := c.lookup(extension.LoadBalancers, e.GetName(), e.GetTypedConfig(), false, at)
		switch lb := config.(type) {
		case *roundv3.RoundRobin:
			out.LB = model.LBRoundRobin
			c.slowStart(lb.GetSlowStartConfig(), out, at.field("typed_config"))
			localities(lb.GetLocalityLbConfig(), out)
		case *leastv3.LeastRequest:
			out.LB = model.LBLeastRequest
			c.leastRequest(out, lb.GetChoiceCount(), lb.GetActiveRequestBias())
			c.slowStart(lb.GetSlowStartConfig(), out, at.field("typed_config"))
			out.LeastRequest.FullScan = lb.GetSelectionMethod() == leastv3.LeastRequest_FULL_SCAN
			localities(lb.GetLocalityLbConfig(), out)
		case *randomv3.Random:
			out.LB = model.LBRandom
			localities(lb.GetLocalityLbConfig(), out)
		case *ringv3.RingHash:
			c.ringHash(lb, out, at.field("typed_config"))
		case *maglevv3.Maglev:
			c.maglevHash(lb, out, at.field("typed_config"))
		case *providedv3.ClusterProvided:
			out.LB = model.LBClusterProvided
		case *wrrv3.WrrLocality:
			out.LocalityWeighted = true
			c.policies(lb.GetEndpointPickingPolicy(), out, at.field("typed_config").field("endpoint_picking_policy"), depth+1)
		case *csrrv3.ClientSideWeightedRoundRobin:
			c.lacks(at, "the weights that backends report are not used yet: ROUND_ROBIN is used")
		}
		return
	}
	if known {
		c.lacks(p, "%s not supported by weir yet: ROUND_ROBIN is used", strings.Join(names, ", "))
		return
	}
	c.fail(p, "cluster: didn't find a registered load balancer factory with names from [%s]", strings.Join(names, ", "))
}
