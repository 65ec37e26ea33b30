package controlplane

import (
	"fmt"
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// reference names a resource.
type reference struct{ url, name string }

// references lists the resources that a client needs to make use of this one.
func references(m proto.Message) []reference {
	if _, ok := m.(*endpointv3.ClusterLoadAssignment); ok {
		return nil // it may be large, and has none
	}
	var f finder
	f.walk(m.ProtoReflect(), 0)
	slices.SortFunc(f.found, compareReferences)
	return slices.Compact(f.found)
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
