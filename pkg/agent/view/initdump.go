package view

import (
	"maps"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"

	"github.com/weir-proxy/weir/pkg/config/xds"
	"github.com/weir-proxy/weir/pkg/observe/admin"
)

// InitDump tells what start-up, and what warming listeners and clusters wait for.
type InitDump struct {
	Config Config
	// RuntimeLayers names the layers of RTDS that have not come.
	RuntimeLayers func() []string
}

var _ admin.InitDump = InitDump{}

// InitDump implements admin.InitDump. Listeners and clusters come after the layers, as they are waited for.
func (v InitDump) InitDump() *adminv3.UnreadyTargetsDumps {
	out := v.Config.InitDump()
	waiting := v.RuntimeLayers()
	if len(waiting) == 0 {
		return out
	}
	layers := &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: "init manager RTDS"}
	for _, name := range waiting {
		layers.TargetNames = append(layers.TargetNames, "target RTDS "+name)
	}
	out.UnreadyTargetsDumps = append([]*adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{layers}, out.UnreadyTargetsDumps...)
	return out
}

// InitDump implements admin.InitDump: what warming listeners and clusters wait for.
func (v Config) InitDump() *adminv3.UnreadyTargetsDumps {
	d := v.Dump()
	missing := map[string]bool{}
	for _, w := range d.Waiting {
		missing[w] = true
	}
	out := &adminv3.UnreadyTargetsDumps{}
	add := func(name string, needs map[string][]string) {
		dump := &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: name}
		for _, typeURL := range slices.Sorted(maps.Keys(needs)) {
			for _, need := range needs[typeURL] {
				if missing[typeURL+"/"+need] {
					dump.TargetNames = append(dump.TargetNames, "target "+typeURL[strings.LastIndexByte(typeURL, '.')+1:]+" "+need)
				}
			}
		}
		out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, dump)
	}
	for _, s := range d.Listeners {
		if s.Warming != nil {
			l := s.Warming.Value
			add("init manager Listener-local-init-manager "+s.Name, map[string][]string{
				xds.RouteType: l.RouteNames(), xds.SecretType: l.SecretNames(), xds.FilterType: l.FilterNames(),
			})
		}
	}
	for _, s := range d.Clusters {
		if s.Warming != nil {
			c := s.Warming.Value
			needs := map[string][]string{xds.SecretType: c.SecretNames(), xds.FilterType: c.FilterNames()}
			if c.NeedsEDS() {
				needs[xds.EndpointType] = []string{c.EDSName()}
			}
			add("init manager Cluster "+s.Name, needs)
		}
	}
	return out
}
