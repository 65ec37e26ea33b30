package controlplane

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// reference names a resource.
type reference struct{ url, name string }

// references lists the resources that a client needs to make use of this one.
func references(name string, m proto.Message) []reference {
	var out []reference
	switch m := m.(type) {
	case *routev3.RouteConfiguration:
		for _, v := range m.GetVirtualHosts() {
			out = append(out, hostReferences(v)...)
		}
		out = append(out, mirrorReferences(m.GetRequestMirrorPolicies())...)
	case *routev3.VirtualHost:
		out = hostReferences(m)
	default:
		for url, names := range cache.GetResourceReferences(map[string]types.ResourceWithTTL{name: {Resource: m}}) {
			for name := range names {
				out = append(out, reference{url, name})
			}
		}
	}
	slices.SortFunc(out, compareReferences)
	return slices.Compact(out)
}

func compareReferences(a, b reference) int {
	switch {
	case a == b:
		return 0
	case a.url < b.url || a.url == b.url && a.name < b.name:
		return -1
	}
	return 1
}

// hostReferences are the clusters that the routes of a virtual host name.
func hostReferences(v *routev3.VirtualHost) []reference {
	out := mirrorReferences(v.GetRequestMirrorPolicies())
	for _, r := range v.GetRoutes() {
		a := r.GetRoute()
		if c := a.GetCluster(); c != "" {
			out = append(out, reference{resource.ClusterType, c})
		}
		for _, w := range a.GetWeightedClusters().GetClusters() {
			if w.GetName() != "" {
				out = append(out, reference{resource.ClusterType, w.GetName()})
			}
		}
		out = append(out, mirrorReferences(a.GetRequestMirrorPolicies())...)
	}
	return out
}

func mirrorReferences(list []*routev3.RouteAction_RequestMirrorPolicy) (out []reference) {
	for _, m := range list {
		if m.GetCluster() != "" {
			out = append(out, reference{resource.ClusterType, m.GetCluster()})
		}
	}
	return out
}

// dangling tells of resources of the set that need others that are not in it, in the order of their places. Clients may
// have clusters of their own, so those are only missed where the set has some.
func (s *set) dangling() []string {
	var out []string
	for _, t := range s.tables {
		for _, i := range t.items {
			for _, r := range i.refs {
				known := s.tables[r.url]
				if known == nil || known.items[r.name] != nil || r.url == resource.ClusterType && len(known.items) == 0 {
					continue
				}
				text := fmt.Sprintf("%s refers to %s %s, which is not served", i.describe(), shortType(r.url), r.name)
				if i.origin != "" {
					text = i.origin + ": " + text
				}
				out = append(out, text)
			}
		}
	}
	slices.Sort(out)
	return out
}
