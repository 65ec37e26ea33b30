package steer

import (
	"fmt"
	"slices"

	"github.com/weir-proxy/weir/pkg/config/model"
)

// Spec is a service that rules of a plan may refer to, as configured. Who knows the hosts makes the Service of it.
type Spec struct {
	// Name of the service.
	Name string
	// Listener, its filter chain, and the TCP proxy of that, which it stands in for.
	Listener *model.Listener
	Chain    *model.FilterChain
	Proxy    *model.TCPProxy
	// OwnNamespace tells that the proxy does not connect from where the application is, or serves no other namespace.
	OwnNamespace bool
}

// Clusters are the distinct names of the clusters that connections go to, in the order of the configuration.
func (s *Spec) Clusters() []string { return clustersOf(s.Proxy) }

// clustersOf leaves out clusters without weight among weighted ones.
func clustersOf(p *model.TCPProxy) []string {
	var names []string
	for _, w := range p.Clusters {
		if (w.Weight > 0 || len(p.Clusters) == 1) && !slices.Contains(names, w.Name) {
			names = append(names, w.Name)
		}
	}
	return names
}

// outcome is what becomes of the connections that a redirecting rule would give to a listener.
type outcome struct {
	action Action
	// spec of an offloading one, and of one that is redirected only since its service is unfit.
	spec Spec
	// kept says why it is redirected.
	kept string
}

// outcomeOf decides about the connections to a target that are for the listener.
func (c *Compiler) outcomeOf(l *model.Listener, to target) outcome {
	if kept := c.listenerKept(l); kept != "" {
		return outcome{action: Redirect, kept: kept}
	}
	index, fc, kept := chainOf(l, to)
	if kept != "" {
		return outcome{action: Redirect, kept: kept}
	}
	path := "default_filter_chain"
	if index >= 0 {
		path = fmt.Sprintf("filter_chains[%d]", index)
	}
	proxy, kept := proxyOf(fc, path)
	if kept != "" {
		return outcome{action: Redirect, kept: kept}
	}
	action, kept := c.clustersKept(proxy)
	if action == Pass && len(fc.Filters) > 1 {
		return outcome{action: Redirect, kept: path + ".filters: nobody would apply them to what passes"}
	}
	if action != Offload {
		return outcome{action: action, kept: kept}
	}
	name := l.Name
	if len(l.FilterChains) > 1 || index < 0 {
		name += "/" + path
	}
	out := outcome{action: Offload, spec: Spec{Name: name, Listener: l, Chain: fc, Proxy: proxy, OwnNamespace: c.ownNamespace()}, kept: c.unfit[name]}
	if out.kept != "" {
		out.action = Redirect
	}
	return out
}

// ownNamespace tells that what other network namespaces connect to is not what they would reach themselves.
func (c *Compiler) ownNamespace() bool {
	return c.config.Namespaces.HostUpstream || c.config.Namespaces.OwnOnly
}

// listenerKept tells what keeps all connections of a listener in user space, by the choice of whoever configured weir or by
// what the listener does.
func (c *Compiler) listenerKept(l *model.Listener) string {
	switch {
	case c.config.Offload.Off:
		return "offload.mode is OFF"
	case slices.Contains(c.config.Offload.ExcludeListeners, l.Name):
		return "offload.exclude_listeners names it"
	case c.held != "":
		return c.held
	}
	return listenerKept(l)
}

// clustersKept tells whether the clusters of a TCP proxy can be balanced by the kernel, or, to the original destination, need
// no help at all.
func (c *Compiler) clustersKept(p *model.TCPProxy) (Action, string) {
	names := clustersOf(p)
	for _, name := range names {
		cl := c.snap.Clusters.Get(name)
		if kept := clusterKept(name, cl); kept != "" {
			return Redirect, kept
		}
		switch {
		case p.HashSourceIP && cl.LB == model.LBRingHash:
			return Redirect, fmt.Sprintf("cluster %s: lb_policy RING_HASH with a hash_policy needs user space", name)
		case p.HashSourceIP && cl.LB == model.LBMaglev && len(names) > 1:
			return Redirect, "weighted_clusters: a hash_policy needs user space"
		case cl.Type == model.ClusterOriginalDst && len(names) == 1 && c.ownNamespace():
			return Redirect, "namespaces: connections of other network namespaces need user space"
		case cl.Type == model.ClusterOriginalDst && len(names) == 1:
			return Pass, ""
		case cl.Type == model.ClusterOriginalDst:
			return Redirect, fmt.Sprintf("weighted_clusters: cluster %s is of type ORIGINAL_DST", name)
		case len(names) > 1 && limitOf(cl) < unlimited:
			return Redirect, fmt.Sprintf("weighted_clusters: circuit_breakers of cluster %s need user space", name)
		case len(names) > 1 && cl.LB != c.snap.Clusters.Get(names[0]).LB:
			return Redirect, "weighted_clusters: their lb_policy differs"
		}
	}
	return Offload, ""
}
